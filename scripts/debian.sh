# shellcheck shell=sh
# Debian packages unpacked beside the system: neither dpkg nor apt's own state learns
# of them, and no root is needed. Sourced, after need.sh.

# The machine's own mirror of Debian, so that no other one is asked; Debian's own one
# where the machine's sources name none.
debian_mirror() {
    # The format is apt's, not the shell's.
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(COMPONENT) $(REPO_URI)' 2>/dev/null |
        sed -n 's,^main \(.*/debian\)/*$,\1,p' | head -n 1)
    echo "${mirror:-http://deb.debian.org/debian}"
}

# unpack_debian FOLDER "SUITE ..." PACKAGE ...: unpacks the packages and all that they
# depend on into FOLDER/root, from those suites of Debian, the last one preferred.
unpack_debian() {
    into=$1 suites=$2
    shift 2
    for tool in apt-get dpkg-deb; do
        has $tool || stop "Debian's packages are fetched by $tool, which this machine lacks."
    done
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e $keyring ] || stop "$keyring is missing: install debian-archive-keyring."
    mkdir -p "$into"
    apart=$(mktemp -d "$into/apt.XXXXXX")
    private_apt "$apart" "$suites"
    apart_apt update
    apart_apt install --yes --no-install-recommends --download-only \
        --target-release "${suites##* }" "$@"
    mkdir -p "$into/root"
    for package in "$apart"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$into/root"
    done
    rm -rf "$apart"
}

# private_apt FOLDER "SUITE ...": an apt that knows of nothing installed.
private_apt() {
    mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial" "$1/parts"
    : >"$1/status"
    mirror=$(debian_mirror)
    for suite in $2; do
        echo "deb [signed-by=$keyring] $mirror $suite main"
    done >"$1/sources.list"
    cat >"$1/apt.conf" <<END
Dir::State "$1/state";
Dir::State::status "$1/status";
Dir::Cache "$1/cache";
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "$1/parts";
Dir::Etc::preferences "$1/preferences";
Dir::Etc::preferencesparts "$1/parts";
APT::Sandbox::User "";
END
}

apart_apt() {
    APT_CONFIG=$apart/apt.conf apt-get -qq "$@" </dev/null >"$apart/log" 2>&1 || {
        cat "$apart/log" >&2
        rm -rf "$apart"
        stop "Debian's packages could not be fetched."
    }
}
