#!/usr/bin/env bash
# openstack-tool.sh COMMAND ...: builds labtool and runs one of its commands
# against the running control plane; without one it says which there are.
# Needs go.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=openstack-lab.env
. "$here/openstack-lab.env"
[ -f "$OPENSTACK_LAB/openrc" ] || die "there is no cloud in $OPENSTACK_LAB; start one with openstack-up.sh (make lab-openstack)"
# shellcheck source=/dev/null
. "$OPENSTACK_LAB/openrc"
(cd "$here/labtool" && CGO_ENABLED=0 go build -o "$OPENSTACK_LAB/labtool" .)
exec "$OPENSTACK_LAB/labtool" "$@"
