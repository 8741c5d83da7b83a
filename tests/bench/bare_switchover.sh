#!/bin/bash
# What a planned switchover cannot do without: let the requests end, stop the primary, promote,
# restart the ERP, route. Nothing is checked, proven or kept. It waits for a line on standard
# input, then prints each part when it is done.
set -euo pipefail

supervisor() { # SOCKET METHOD PROGRAM WAIT
    local call="<methodCall><methodName>supervisor.$2</methodName><params><param><value><string>\
$3</string></value></param><param><value><boolean>$4</boolean></value></param></params></methodCall>"
    local answer
    answer=$(printf 'POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s' \
        "${#call}" "$call" | socat -t 30 - "UNIX-CONNECT:$1")
    [[ $answer != *faultString* ]]
}

door() {
    echo "$1" | socat - "UNIX-CONNECT:$DOOR" >/dev/null
}

echo ready
read -r _

door "set server $OLD state drain"
sleep 0.2 # the requests at work; a bare script hopes that this is enough
supervisor "$OLD_SUPERVISOR" stopProcess "$DATABASE" 1
echo stop

# Without the first two, commits would wait for the stopped site.
"$PSQL" -XAtq -c "ALTER SYSTEM SET synchronous_standby_names = ''" -c 'SELECT pg_reload_conf()' \
    -c 'SELECT pg_promote()' >/dev/null
echo promote

supervisor "$SUPERVISOR" stopProcess "$ERP" 1
supervisor "$SUPERVISOR" startProcess "$ERP" 0
echo restart

door "set server $OLD state maint; set server $NEW state ready; shutdown sessions server $OLD"
echo route
