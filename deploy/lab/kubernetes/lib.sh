# shellcheck shell=bash
# Shared by the k8s-*.sh scripts; sourced, not run.
# shellcheck disable=SC2034 # the scripts use what is set here

src=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'k8slab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need() { # COMMAND...
  local c
  for c; do command -v "$c" >/dev/null || die "$c is missing; install it (Debian has curl in curl, flock and setsid in util-linux)"; done
}

# What is built, for all labs of this user.
cache=${K8S_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME must be set, or K8S_LAB_CACHE}/.cache}/reeve/lab/kubernetes}
mkdir -p "$cache/bin"
cache=$(cd "$cache" && pwd)
bin=$cache/bin

# The state of one lab.
use_lab() {
  lab=${K8S_LAB:-$src/../../../.reeve/lab/kubernetes}
  mkdir -p "$lab"
  lab=$(cd "$lab" && pwd)
  run=$lab/run logs=$lab/logs pki=$lab/pki kubeconfig=$lab/kubeconfig
  need flock
  # One script at a time in each lab.
  exec 9>"$lab/lock"
  flock 9
}

# A pid alone can be reused by a stranger; pid plus start time cannot. Says
# nothing for a process that is gone or a zombie.
started_at() { awk '{sub(/^.*\) /, ""); if ($1 !~ /[ZX]/) print $20}' "/proc/$1/stat" 2>/dev/null; }

running() { # NAME: is the process this lab started under NAME still there?
  local pid since
  [[ -f $run/$1.pid ]] || return 1
  read -r pid since <"$run/$1.pid" || return 1
  [[ -n $pid && $(started_at "$pid") == "$since" ]]
}

stop() { # NAME
  local pid since i
  if ! running "$1"; then rm -f "$run/$1.pid"; return 0; fi
  read -r pid since <"$run/$1.pid"
  kill -TERM "$pid" 2>/dev/null || true
  kill -CONT "$pid" 2>/dev/null || true # a test may have stopped it
  for ((i = 0; i < 100; i++)); do
    running "$1" || break
    sleep 0.1
  done
  if running "$1"; then
    say "$1 ignored SIGTERM for 10 s; killing it"
    kill -KILL "$pid" 2>/dev/null || true
    while running "$1"; do sleep 0.1; done
  fi
  rm -f "$run/$1.pid"
}
