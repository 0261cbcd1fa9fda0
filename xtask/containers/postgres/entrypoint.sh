# As the official image does it: an empty data directory becomes a cluster with POSTGRES_USER (a superuser with the password
# POSTGRES_PASSWORD) and POSTGRES_DB, made by a server that listens on its socket alone.
set -eu
: "${POSTGRES_PASSWORD:?must be set}"
user="${POSTGRES_USER:-postgres}"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    passwords=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" > "$passwords"
    initdb --username="$user" --pwfile="$passwords" --auth-local=trust --auth-host=scram-sha-256
    rm "$passwords"
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
    pg_ctl -w start -o "-c listen_addresses=''"
    psql --username="$user" --dbname=postgres --set=name="${POSTGRES_DB:-$user}" <<'SQL'
SELECT format('CREATE DATABASE %I', :'name') WHERE :'name' <> 'postgres' \gexec
SQL
    pg_ctl -w -m fast stop
fi
exec "$@"
