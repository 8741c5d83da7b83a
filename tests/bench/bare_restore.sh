#!/bin/bash
# What a restore cannot do without: fetch the backup, start the database, wait until it takes
# writes, start the ERP. No isolation, no checks. It waits for a line on standard input, then
# prints each part when it is done. Its servers outlive it; their pids are in $SCRATCH/*.pid.
set -euo pipefail

export PGHOST=$SCRATCH PGPORT PGUSER=postgres PGDATABASE=postgres
echo ready
read -r _

# shellcheck disable=SC2086  # AS_USER: the words that make a command run as the servers' user
$AS_USER pgbackrest --config="$SCRATCH/pgbackrest.conf" --stanza="$STANZA" --repo="$REPOSITORY" \
    --set="$BACKUP" --type=time --target="$TARGET" --target-action=promote --archive-mode=off restore
echo fetch

# shellcheck disable=SC2086
setsid $AS_USER "$BIN/postgres" --config-file="$SCRATCH/postgresql.conf" \
    -c synchronous_standby_names= >"$SCRATCH/postgresql.log" 2>&1 </dev/null &
echo $! >"$SCRATCH/database.pid"
# shellcheck disable=SC2086
until [[ $($AS_USER "$BIN/psql" -XAt -c 'SELECT pg_is_in_recovery()' 2>/dev/null) == f ]]; do
    kill -0 "$(<"$SCRATCH/database.pid")"
    sleep 0.05
done
echo recover

setsid "$TRYTOND" -c "$SCRATCH/trytond.conf" -d "$DATABASE" >"$SCRATCH/erp.log" 2>&1 </dev/null &
echo $! >"$SCRATCH/erp.pid"
