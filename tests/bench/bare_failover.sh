#!/bin/bash
# What a failover cannot do without: kill, promote, restart the ERP, route. Nothing is detected,
# decided, proven or kept. It waits for a line on standard input, then prints each part when it is
# done. The processes are looked up before: a power cut does not look for its victims.
set -euo pipefail

supervisor() { # METHOD WAIT
    local call="<methodCall><methodName>supervisor.$1</methodName><params><param><value><string>\
$ERP</string></value></param><param><value><boolean>$2</boolean></value></param></params></methodCall>"
    local answer
    answer=$(printf 'POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s' \
        "${#call}" "$call" | socat -t 30 - "UNIX-CONNECT:$SUPERVISOR")
    [[ $answer != *faultString* ]]
}

victims=$(ps -e -o pid= -o ppid= | awk -v root="$OLD_SUPERVISOR" '{ parent[$1] = $2 }
    END { for (pid in parent) for (up = pid; up in parent; up = parent[up])
        if (up == root) { print pid; break } }')
echo ready
read -r _

# shellcheck disable=SC2086  # a list of numbers
kill -9 "$OLD_SUPERVISOR" $victims 2>/dev/null || true # one may have ended by itself
echo kill

# Without the first two, commits would wait for the dead site.
"$PSQL" -XAtq -c "ALTER SYSTEM SET synchronous_standby_names = ''" -c 'SELECT pg_reload_conf()' \
    -c 'SELECT pg_promote()' >/dev/null
echo promote

supervisor stopProcess 1
supervisor startProcess 0
echo restart

echo "set server $OLD state maint; set server $NEW state ready; shutdown sessions server $OLD" |
    socat - "UNIX-CONNECT:$DOOR" >/dev/null
echo route
