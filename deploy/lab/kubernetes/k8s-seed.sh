#!/usr/bin/env bash
# Fills the lab, or changes what is in it, with k8s-seed; -h says what it can do.
#
#   ./k8s-seed.sh [-nodes 100 -pods 2000 ...]
#
#   K8S_LAB   the lab's directory, as for k8s-up.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$src/k8s-build.sh"
use_lab
exec 9>&- # it changes the cluster, not the lab
[[ -f $kubeconfig ]] || die "there is no cluster in $lab; start one with k8s-up.sh (make lab-kubernetes)"
exec "$bin/k8s-seed" -kubeconfig "$kubeconfig" "$@"
