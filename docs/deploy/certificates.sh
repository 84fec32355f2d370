#!/bin/sh
# Makes an authority, if there is none yet, and a certificate for each node named: with openssl, good
# for 90 days. Again for the same node: a new certificate, which a running node takes by itself.
#
#   certificates.sh DIR n1=10.0.0.1 n2=10.0.0.2,n2.example n3=10.0.0.3
#
# DIR/ca.key.pem stays here and goes to no node. DIR/nN/ holds what node nN needs.
set -eu

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 3; }
dir=$1
shift
mkdir -p "$dir"
umask 077

if [ ! -e "$dir/ca.key.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=Quorate CA" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -keyout "$dir/ca.key.pem" -out "$dir/ca.pem" 2>/dev/null
fi
# The same on every node: contexts are authenticated with one, administrators show the other.
[ -e "$dir/token.key" ] || openssl rand -out "$dir/token.key" 32
[ -e "$dir/admin.token" ] || openssl rand -hex 32 >"$dir/admin.token"

for node; do
    name=${node%%=*}
    home=$dir/$name
    mkdir -p "$home"
    names=DNS:localhost,IP:127.0.0.1
    for host in $(echo "${node#*=}" | tr ',' ' '); do
        case $host in
        *[!0-9.]*) case $host in *:*) names=$names,IP:$host ;; *) names=$names,DNS:$host ;; esac ;;
        *) names=$names,IP:$host ;;
        esac
    done
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
        -keyout "$home/key.pem.new" -out "$home/request.pem" 2>/dev/null
    extensions=$home/extensions.cnf
    printf 'subjectAltName=%s\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n' \
        "$names" >"$extensions"
    openssl x509 -req -in "$home/request.pem" -CA "$dir/ca.pem" -CAkey "$dir/ca.key.pem" -CAcreateserial \
        -days "${DAYS:-90}" -extfile "$extensions" -out "$home/cert.pem.new" 2>/dev/null
    rm "$home/request.pem" "$extensions"
    for file in ca.pem token.key admin.token; do
        cp "$dir/$file" "$home/$file.new"
        mv "$home/$file.new" "$home/$file"
    done
    mv "$home/key.pem.new" "$home/key.pem"
    mv "$home/cert.pem.new" "$home/cert.pem"
    echo "$name: $home ($names)"
done
