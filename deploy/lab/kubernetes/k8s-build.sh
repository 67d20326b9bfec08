#!/usr/bin/env bash
# Builds what the labs run, once, into the cache; does nothing while it is up to
# date. k8s-up.sh runs it.
#
#   ./k8s-build.sh
#
#   K8S_LAB_CACHE   the cache (default ${XDG_CACHE_HOME:-~/.cache}/reeve/lab/kubernetes)
#
# bin/k8slab is the control plane, bin/kubectl the same file by another name,
# bin/k8s-seed fills a cluster.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need flock go sha256sum
# Several may want to build at the same time; one does, the others wait for it.
exec 8>"$bin/lock"
flock 8

build() { # NAME DIR PACKAGE LDFLAGS SOURCES...
  local name=$1 dir=$2 package=$3 ldflags=$4 want begin=$SECONDS
  shift 4
  want=$(cd "$dir" && sha256sum "$@" | sha256sum | cut -c1-16)-$(go env GOVERSION)-$(go env GOARCH)
  if [[ -x $bin/$name && $(cat "$bin/$name.stamp" 2>/dev/null) == "$want" ]]; then return 0; fi
  say "building $name (minutes while the Go build cache is cold)"
  # One fixed value of CGO_ENABLED, or the Go build cache has everything twice.
  (cd "$dir" && GOWORK=off CGO_ENABLED=0 GOFLAGS=-mod=readonly \
    go build -trimpath -buildvcs=false -ldflags "-s -w $ldflags" -o "$bin/$name.new" "$package" 8>&-) ||
    die "cannot build $name; if modules could not be fetched, make a Go module proxy reachable (go env GOPROXY says which is asked)"
  mv -f "$bin/$name.new" "$bin/$name"
  printf '%s' "$want" >"$bin/$name.stamp"
  say "built $name in $((SECONDS - begin)) s"
}

version=$(awk '$1 == "k8s.io/kubernetes" {print $2; exit}' "$src/go.mod")
minor=${version#v1.}
v=k8s.io/component-base/version
cd "$src"
build k8slab "$src" . \
  "-X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean" \
  ./*.go go.mod go.sum
cd "$src/tools"
build k8s-seed "$src/tools" ./cmd/k8s-seed "" go.mod go.sum cmd/k8s-seed/*.go cmd/k8s-seed/manifests/*
ln -sfn k8slab "$bin/kubectl" # a name the binary answers to
