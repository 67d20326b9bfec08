#!/usr/bin/env bash
# Regenerates go.mod for a Kubernetes release.
#
#   ./gen-gomod.sh v1.36.3 v0.8.0        # kubernetes, kwok
#
# k8s.io/kubernetes names its staging modules as v0.0.0 and points them at
# ./staging with replace directives, which Go ignores in a dependency. The same
# code is published as k8s.io/<name> v0.<minor>.<patch>, so this writes one
# require per staging module at the matching version; every other version is
# left to minimal version selection, which takes it from kubernetes' go.mod.
set -euo pipefail
cd "$(dirname "$0")"
kube=${1:?kubernetes version, e.g. v1.36.3}
kwok=${2:?kwok version, e.g. v0.8.0}
staging=v0.${kube#v1.}
modfile=$(cd / && GOFLAGS=-mod=mod go mod download -json "k8s.io/kubernetes@$kube" | sed -n 's/^\t"GoMod": "\(.*\)",*$/\1/p')
gover=$(awk '$1=="go"{print $2; exit}' "$modfile")
{
  echo "module k8slab"
  echo
  echo "go $gover"
  echo
  awk '$1=="godebug"' "$modfile"
  echo
  echo "require ("
  echo "	k8s.io/kubernetes $kube"
  echo "	sigs.k8s.io/kwok $kwok"
  awk '$1 ~ /^go.etcd.io\/etcd\/(client|server)\/v3$/ {print "\t" $1 " " $2}' "$modfile"
  awk -v s="$staging" '$1 ~ /^k8s.io\// && $2=="v0.0.0" {print "\t" $1 " " s}' "$modfile"
  echo ")"
} >go.mod
rm -f go.sum
GOFLAGS=-mod=mod go mod tidy
