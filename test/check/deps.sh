#!/bin/sh
# Installs the packages of test/packages.txt that are missing: deps.sh KIND... (build, test, extra).
# Asks dpkg first, so a machine that has them all is not touched and needs neither root nor a network.
set -eu

list=$(dirname "$0")/../packages.txt
missing=
for kind in "$@"; do
	for package in $(sed -n "s/^$kind  *//p" "$list"); do
		state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
		[ "$state" = installed ] || missing="$missing $package"
	done
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "these packages are missing, and installing them needs root:$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1	# has invoke-rc.d start no servers
apt-get update -qq
# shellcheck disable=SC2086 # one word per package is meant
apt-get install -y -qq --no-install-recommends $missing >/dev/null
