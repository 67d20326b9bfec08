#!/usr/bin/env bash
# Starts a real Kubernetes control plane on loopback, with kwok as the kubelets.
# Run again, it starts what is missing: nothing, or what was killed.
#
#   ./k8s-up.sh [--audit] [--components LIST]
#
# The lab's directory has all of its state: etcd's data, certificates, logs, pid
# files and the admin kubeconfig. The output is the line that exports KUBECONFIG.
#
#   --audit         have the apiserver write who asked for what to logs/audit.log
#   --components    default etcd,kube-apiserver,kube-controller-manager,kube-scheduler,kwok;
#                   etcd,kube-apiserver is the lightest real API
#
#   K8S_LAB         the lab's directory (default .reeve/lab/kubernetes in the checkout)
#   K8S_LAB_PORT    the first of six ports on loopback: apiserver, etcd's client and
#                   peer ports, controller-manager, scheduler, kwok (default: what
#                   the lab had before, or 26443)
#   K8S_LAB_CACHE   where the binaries are, see k8s-build.sh
#   K8S_LAB_APISERVER_ARGS   more flags for kube-apiserver
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

components=etcd,kube-apiserver,kube-controller-manager,kube-scheduler,kwok
audit=
while (($#)); do
  case $1 in
    --audit) audit=1 ;;
    --components) components=${2:?--components wants a list}; shift ;;
    *) die "unknown argument $1; there are --audit and --components" ;;
  esac
  shift
done
has() { [[ ,$components, == *",$1,"* ]]; }

need curl flock setsid
"$src/k8s-build.sh"
use_lab

had=$(cat "$lab/port" 2>/dev/null || true)
port=${K8S_LAB_PORT:-${had:-26443}}
if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port + 5 > 65535)); then
  die "K8S_LAB_PORT is \"$port\", but must be the first of six port numbers"
fi
if [[ -n $had && $port != "$had" ]]; then
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kwok; do
    if running "$name"; then die "this lab is up on port $had; stop it before it moves to port $port"; fi
  done
fi
printf '%s\n' "$port" >"$lab/port"

server=https://127.0.0.1:$port
etcd_url=http://127.0.0.1:$((port + 1))
peer_url=http://127.0.0.1:$((port + 2))
mkdir -p "$run" "$logs" "$pki"
chmod 700 "$lab" "$pki"

# --- certificates and kubeconfigs ----------------------------------------------
"$bin/k8slab" pki -dir "$pki" -server "$server" -admin-kubeconfig "$kubeconfig"

# --- processes -----------------------------------------------------------------
start() { # NAME PORT ARGS...
  local name=$1 p=$2; shift 2
  if running "$name"; then return 0; fi
  # A large process that was killed counts as gone before its sockets are.
  local i
  for ((i = 0; i < 100; i++)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || break
    sleep 0.1
  done
  if ((i == 100)); then
    die "port $p for $name is taken by something else (another lab?); set K8S_LAB_PORT"
  fi
  # 9>&-: a daemon must not keep the lock; setsid: nor die with this terminal.
  setsid "$bin/k8slab" "$name" "$@" </dev/null >>"$logs/$name.log" 2>&1 9>&- &
  local pid=$!
  disown "$pid"
  echo "$pid $(started_at "$pid")" >"$run/$name.pid"
}

wait_for() { # NAME SECONDS URL [curl options]: until URL answers 200
  local name=$1 limit=$2 url=$3 i; shift 3
  for ((i = 0; i < limit * 5; i++)); do
    if curl -fsS -m 5 -o /dev/null --noproxy '*' "$@" "$url" 2>/dev/null; then return 0; fi
    running "$name" || { tail -n 20 "$logs/$name.log" >&2; die "$name exited; see $logs/$name.log"; }
    sleep 0.2
  done
  tail -n 20 "$logs/$name.log" >&2
  die "$name not ready after ${limit}s; see $logs/$name.log"
}

begin=$(date +%s%N)
admin=(--cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key")

if has etcd; then
  # No fsync: this data is worthless after the test, and CI disks are slow.
  start etcd $((port + 1)) \
    --name=k8slab --data-dir="$lab/etcd" \
    --listen-client-urls="$etcd_url" --advertise-client-urls="$etcd_url" \
    --listen-peer-urls="$peer_url" --initial-advertise-peer-urls="$peer_url" \
    --initial-cluster="k8slab=$peer_url" \
    --unsafe-no-fsync --quota-backend-bytes=4294967296 --log-level=warn
  wait_for etcd 30 "$etcd_url/readyz"
fi

if has kube-apiserver; then
  extra=()
  # Pods need a default ServiceAccount, which only the controller-manager makes.
  has kube-controller-manager || extra+=(--disable-admission-plugins=ServiceAccount)
  # maxsize: a log that is rotated away cannot be counted.
  [[ -z $audit ]] || extra+=(--audit-policy-file="$src/audit.yaml" --audit-log-path="$logs/audit.log" --audit-log-maxsize=10000)
  read -ra more <<<"${K8S_LAB_APISERVER_ARGS:-}"
  # advertise-address: the address in default/kubernetes' EndpointSlice. The API
  # refuses loopback there; this one is reserved for documentation, and nothing
  # in the lab connects to it.
  start kube-apiserver "$port" \
    --bind-address=127.0.0.1 --secure-port="$port" --advertise-address=192.0.2.1 \
    --etcd-servers="$etcd_url" --service-cluster-ip-range=10.96.0.0/16 \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --client-ca-file="$pki/ca.crt" --authorization-mode=Node,RBAC --allow-privileged=true \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" \
    --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key" \
    --profiling=false "${extra[@]}" "${more[@]}"
  wait_for kube-apiserver 120 "$server/readyz" "${admin[@]}"
  say "apiserver ready after $((($(date +%s%N) - begin) / 1000000)) ms"
fi

if has kube-controller-manager; then
  start kube-controller-manager $((port + 3)) \
    --kubeconfig="$pki/kube-controller-manager.kubeconfig" --leader-elect=false \
    --authentication-kubeconfig="$pki/kube-controller-manager.kubeconfig" \
    --authorization-kubeconfig="$pki/kube-controller-manager.kubeconfig" \
    --bind-address=127.0.0.1 --secure-port=$((port + 3)) --cert-dir="$run/kcm-certs" \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --use-service-account-credentials=true --kube-api-qps=500 --kube-api-burst=1000 \
    --concurrent-deployment-syncs=10 --concurrent-replicaset-syncs=10 \
    --concurrent-statefulset-syncs=10 --concurrent-job-syncs=10 --profiling=false
fi
if has kube-scheduler; then
  cat >"$run/scheduler.yaml" <<YAML
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: "$pki/kube-scheduler.kubeconfig", qps: 500, burst: 1000}
YAML
  start kube-scheduler $((port + 4)) \
    --config="$run/scheduler.yaml" \
    --authentication-kubeconfig="$pki/kube-scheduler.kubeconfig" \
    --authorization-kubeconfig="$pki/kube-scheduler.kubeconfig" \
    --bind-address=127.0.0.1 --secure-port=$((port + 4)) --cert-dir="$run/scheduler-certs"
fi
if has kwok; then
  # A node belongs to the kwok holding its Lease; without this, a restarted one
  # would leave all pods alone until the leases of its predecessor expire (40 s).
  if ! running kwok; then
    curl -fsS -m 30 -o /dev/null --noproxy '*' "${admin[@]}" -X DELETE \
      "$server/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases" || true
  fi
  start kwok $((port + 5)) \
    --kubeconfig="$pki/kwok.kubeconfig" --config="$src/kwok.yaml" \
    --server-address=127.0.0.1:$((port + 5))
fi

if has kube-controller-manager; then
  wait_for kube-controller-manager 60 "https://127.0.0.1:$((port + 3))/healthz" -k
  # The first thing a pod needs from the controller-manager.
  wait_for kube-controller-manager 60 "$server/api/v1/namespaces/default/serviceaccounts/default" "${admin[@]}"
fi
if has kube-scheduler; then wait_for kube-scheduler 60 "https://127.0.0.1:$((port + 4))/healthz" -k; fi
if has kwok; then wait_for kwok 60 "http://127.0.0.1:$((port + 5))/healthz"; fi

say "up after $((($(date +%s%N) - begin) / 1000000)) ms at $server; for kubectl and others:"
echo "export KUBECONFIG=$kubeconfig"
