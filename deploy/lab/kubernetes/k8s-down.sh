#!/usr/bin/env bash
# Stops what k8s-up.sh started, and nothing else.
#
#   ./k8s-down.sh [--wipe]
#
#   K8S_LAB   the lab's directory, as for k8s-up.sh
#
# --wipe also removes the lab's state (etcd, certificates, logs). What is built
# stays in the cache.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

wipe=
for argument; do
  case $argument in
    --wipe) wipe=1 ;;
    *) die "unknown argument $argument; there is --wipe" ;;
  esac
done
use_lab
for name in kwok kube-scheduler kube-controller-manager; do stop "$name" & done
wait
stop kube-apiserver
stop etcd
if [[ -n $wipe ]]; then rm -rf "$lab/etcd" "$pki" "$logs" "$run" "$kubeconfig" "$lab/port"; fi
