# shellcheck shell=bash
# Lends a bare root what it needs to reach the network and the package indexes as this host does. Sourced,
# after lib.sh. Nothing of this is written anywhere but into that root, which is thrown away.

# The settings of pip, of TLS and of proxies that are lent as they stand in the environment.
lent_variables='PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_CERT
PIP_CLIENT_CERT PIP_PROXY PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_CONFIG_FILE
SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY'

# lend_file ROOT FILE...: copies each to the same place in ROOT, links followed; one that is absent is no loss.
lend_file() {
  local root=$1 file
  shift
  for file; do
    [ -f "$file" ] || continue
    install -D -m "$(stat -L -c %a "$file")" "$file" "$root$file"
  done
}

# apt_suites CODENAME: "RELEASE URI COMPONENT" for each of the distribution's own sources of that release.
# apt is asked, so that every form its sources may have is understood.
apt_suites() {
  # shellcheck disable=SC2016  # the names are apt's
  apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(RELEASE) $(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
    awk -v name="$1" '$1 ~ /^(Debian|Ubuntu)$/ && ($2 == name || index($2, name "-") == 1) { print $3, $4, $5 }'
}

# apt_mirror CODENAME: the mirror of the release itself.
apt_mirror() {
  local uri
  uri=$(apt_suites "$1" | awk '$1 !~ /-/ { print $2; exit }')
  case $uri in
    # The address is a list of mirrors, as on Debian's cloud images.
    mirror+file:*) awk '!/^#/ && NF { print $1; exit }' "$(local_path "$uri")" ;;
    *) echo "$uri" ;;
  esac
}

# local_path WORD: the path that a file: address or an absolute path means.
local_path() {
  local path=${1#mirror+}
  path=${path#file:}
  path=${path#copy:}
  [[ $path != //* ]] || path=/${path#//*/}
  echo "${path%/}"
}

# lend_path ROOT WORD...: copies the files that words like file:///some/where or /some/where name, and prints
# the folders, which are mounted instead of copied. Other words are passed over.
lend_path() {
  local root=$1 word path
  shift
  for word; do
    path=$(local_path "$word")
    case $path in
      /etc/ssl/certs | /etc/ssl/certs/*) continue ;; # lent whole
      /*) ;;
      *) continue ;;
    esac
    lend_file "$root" "$path"
    # The pages of an index link to files beside it.
    if [ "${path##*/}" = simple ]; then path=$(dirname "$path"); fi
    if [ -d "$path" ] && [ "$path" != / ]; then echo "$path"; fi
  done
}

lend_network() {
  lend_file "$1" /etc/resolv.conf /etc/hosts /etc/hostname
  # A link there that leads nowhere is no loss.
  cp -rL /etc/ssl/certs/. "$1/etc/ssl/certs/" 2>/dev/null || true
}

# lend_apt ROOT CODENAME: sources, keys, logins, and of apt's other settings those about fetching: hooks call
# programs that a bare root lacks. Prints the folders to mount.
lend_apt() {
  local release uri component
  rm -rf "$1"/etc/apt/sources.list*
  while read -r release uri component; do
    echo "deb $uri $release $component" >>"$1/etc/apt/sources.list"
    lend_path "$1" "$uri"
  done < <(apt_suites "$2")
  lend_file "$1" /etc/apt/auth.conf /etc/apt/auth.conf.d/* /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d/*
  # Which source each key signs for does not matter in there.
  find /etc/apt/keyrings -type f -exec cp -t "$1/etc/apt/trusted.gpg.d" {} + 2>/dev/null || true
  apt-config dump | grep -E '^Acquire::' | grep -vE '^Acquire::(IndexTargets|Changelogs|cdrom)' \
    >"$1/etc/apt/apt.conf.d/90lent"
}

# lend_pip ROOT: the configuration files, and what they and the environment name. Prints the folders to mount.
lend_pip() {
  local file name words=()
  local user=${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf old=$HOME/.pip/pip.conf
  if [ -f "$user" ]; then install -D -m 600 "$user" "$1/root/.config/pip/pip.conf"; fi
  if [ -f "$old" ]; then install -D -m 600 "$old" "$1/root/.pip/pip.conf"; fi
  lend_file "$1" /etc/pip.conf /etc/xdg/pip/pip.conf
  for file in "$user" "$old" /etc/pip.conf /etc/xdg/pip/pip.conf "${PIP_CONFIG_FILE:-/dev/null}"; do
    [ ! -f "$file" ] || read -r -d '' -a words < <(printf '%s ' "${words[@]}"; tr '=' ' ' <"$file") || true
  done
  for name in $lent_variables; do
    read -r -d '' -a words < <(printf '%s ' "${words[@]}" "${!name:-}") || true
  done
  lend_path "$1" "${words[@]}"
}
