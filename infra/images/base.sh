#!/bin/sh
# Hook of mmdebstrap, after packages are extracted: $1 becomes a root file system with Python and no shell, package manager or Perl.
set -eu
root=$1

# What was extracted, where scanners look for it: no package manager has installed it.
mkdir -p "$root/var/lib/dpkg/status.d"
for package in "$root"/var/cache/apt/archives/*.deb; do
  dpkg-deb --field "$package" > "$root/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)"
done

# What maintainers' scripts would have made.
find "$root/usr/share/ca-certificates" -name '*.crt' -exec cat {} + > "$root/etc/ssl/certs/ca-certificates.crt"
echo 'root:x:0:0:root:/:/nonexistent
nonroot:x:65532:65532:nonroot:/tmp:/nonexistent' > "$root/etc/passwd"
echo 'root:x:0:
nonroot:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
ln -s python3 "$root/usr/bin/python"
# /workflows is where workflows are mounted.
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/workflows"
chmod 1777 "$root/tmp"

chroot "$root" /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.11

# Licences stay: /usr/share/doc/*/copyright.
find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/bin" "$root/sbin" "$root/usr/sbin" ! -type d -delete
find "$root/usr/bin" ! -type d ! -name 'python*' -delete
rm -rf "$root"/etc/apt "$root"/etc/cron.daily "$root"/etc/dpkg "$root"/etc/logrotate.d "$root"/etc/ca-certificates \
  "$root"/etc/hostname "$root"/etc/resolv.conf "$root"/usr/share/ca-certificates "$root"/usr/share/debconf \
  "$root"/usr/share/dpkg "$root"/usr/share/locale "$root"/usr/share/lintian "$root"/usr/share/man "$root"/usr/share/perl5 \
  "$root"/usr/share/polkit-1 "$root"/usr/lib/*/gconv "$root"/usr/lib/dpkg \
  "$root"/usr/lib/python3.11/pydoc_data "$root"/usr/lib/python3.11/lib2to3 "$root"/usr/lib/python3.11/turtle.py \
  "$root"/usr/lib/python3.11/lib-dynload/_test* "$root"/var/lib/dpkg/info "$root"/var/lib/dpkg/status "$root"/var/log "$root"/var/cache "$root"/var/lib/apt "$root"/usr/lib/python3.11/test "$root"/usr/share/zoneinfo/right "$root"/tmp/*
