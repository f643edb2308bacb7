# Looks at a delivery and at the machine around it, and changes nothing.
fleet_section() {
    printf '\n%s %s\n' "$fleet_nonce" "$1"
}

fleet_about_machine() {
    read -r fleet_up _ </proc/uptime
    read -r fleet_load _ </proc/loadavg
    fleet_fact time "$(date +%s)"
    fleet_fact booted "$(awk '/^btime / { print $2 }' /proc/stat)"
    fleet_fact load "$fleet_load"
    fleet_fact processors "$(grep -c '^processor' /proc/cpuinfo)"
    fleet_fact blocked "$(awk '/^procs_blocked / { print $2 }' /proc/stat)"
    awk '/^(MemTotal|MemAvailable|SwapTotal|SwapFree):/ { sub(":", "", $1); print tolower($1) "=" $2 }' /proc/meminfo
}

fleet_about_delivery() {
    fleet_fact state "$fleet_is"
    [ "$fleet_is" != missing ] || return 0
    fleet_read_group
    fleet_fact wrapper "$fleet_pid"
    fleet_fact group "$fleet_group"
    if [ -s "$fleet_dir/started" ]; then
        read -r fleet_started _ <"$fleet_dir/started"
        fleet_fact started "$fleet_started"
    fi
    for fleet_each in stdout stderr; do
        fleet_locate "$fleet_each" || continue
        fleet_fact "$fleet_each" "$(fleet_size "$fleet_file")"
        fleet_fact "${fleet_each}_at" "$(date -r "$fleet_file" +%s)"
    done
}

fleet_locate() {
    for fleet_file in "$fleet_dir/$1.live" "$fleet_dir/$1"; do
        if [ -f "$fleet_file" ] && [ ! -L "$fleet_file" ]; then
            return
        fi
    done
    return 1
}

# Package tools hold these by fcntl; the kernel lists such locks by inode.
fleet_about_locks() {
    for fleet_file in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock \
        /var/cache/apt/archives/lock /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock; do
        [ -f "$fleet_file" ] || continue
        # shellcheck disable=SC2012,SC2046 # the inode comes first
        set -- $(ls -i "$fleet_file")
        # shellcheck disable=SC2013 # process ids are plain words
        for fleet_holder in $(awk -v inode="$1" '$6 ~ ":" inode "$" { print $5 }' /proc/locks); do
            fleet_fact lock "$fleet_file $fleet_holder $(cat "/proc/$fleet_holder/comm")"
        done
    done
    for fleet_file in /run/yum.pid /run/zypp.pid; do
        [ -s "$fleet_file" ] || continue
        read -r fleet_holder <"$fleet_file"
        if [ -d "/proc/$fleet_holder" ]; then
            fleet_fact lock "$fleet_file $fleet_holder $(cat "/proc/$fleet_holder/comm")"
        fi
    done
}

# The wrapper's descendants and the script's process group: pid, depth, state, age and processor time in seconds.
fleet_tree() {
    cat /proc/[0-9]*/stat | awk -v root="${fleet_pid:-0}" -v group="${fleet_group:-0}" -v up="$fleet_up" \
        -v hz="$(getconf CLK_TCK || echo 100)" '
        function show(p, depth, n, i, kids) {
            if (shown[p]++ || count++ >= 40) return
            printf "%d %d %s %d %d\n", p, depth, state[p], up - born[p] / hz, used[p] / hz
            n = split(children[p], kids, " ")
            for (i = 1; i <= n; i++) show(kids[i], depth + 1)
        }
        {
            p = $1
            sub(/^.*\) /, "")
            state[p] = $1; parent[p] = $2; pgrp[p] = $3; session[p] = $4
            used[p] = $12 + $13; born[p] = $20; order[++many] = p
            children[$2] = children[$2] " " p
        }
        END {
            if (root in state) show(root, 0)
            for (i = 1; i <= many; i++) {
                p = order[i]
                if (group > 1 && (pgrp[p] == group || session[p] == group)) show(p, 0)
            }
        }'
}

fleet_processes() {
    case $fleet_is in
        alive | starting | gone) ;;
        *) return 0 ;;
    esac
    fleet_tree | while read -r fleet_one fleet_stats; do
        fleet_words=$(tr '\000\n\r' '   ' <"/proc/$fleet_one/cmdline" | cut -c 1-160)
        case $fleet_words in
            '') fleet_words="($(cat "/proc/$fleet_one/comm"))" ;;
            */fleet-watchdog* | "/bin/sh -c # Ends the script's process group"*) fleet_words='(the watchdog)' ;;
        esac
        fleet_waits=$(cat "/proc/$fleet_one/wchan")
        echo "$fleet_one $fleet_stats ${fleet_waits:-0} $fleet_words"
    done
}

fleet_disk() {
    fleet_limit=
    if fleet_has timeout; then
        fleet_limit='timeout 5'
    fi
    # shellcheck disable=SC2086 # two words
    $fleet_limit df -Pk / /var /tmp /home | awk 'NR > 1 && !seen[$6]++ { print $2, $4, $6 }'
}

fleet_logs() {
    for fleet_file in /var/log/waagent.log /var/log/azure/run-command-handler/handler.log \
        /var/opt/azcmagent/log/himds.log; do
        if [ -r "$fleet_file" ]; then
            echo "$fleet_file"
            tail -n 12 "$fleet_file" | tail -c 1500
        fi
    done
}

fleet_collect() {
    fleet_about_machine
    fleet_about_delivery
    fleet_about_locks
    fleet_section processes
    fleet_processes
    if [ "$fleet_is" != missing ]; then
        for fleet_each in stdout stderr; do
            fleet_section "$fleet_each"
            fleet_locate "$fleet_each" && tail -c 2500 "$fleet_file"
        done
    fi
    fleet_section disk
    fleet_disk
    fleet_section agent
    fleet_logs
    fleet_section end
}

fleet_is=$(fleet_state)
fleet_find && fleet_read_claim
# What hangs in the kernel (a dead network disk) is left behind; what is known by then is sent.
fleet_collect >"$fleet_place/report" 2>/dev/null </dev/null &
fleet_child=$!
fleet_turns=0
while kill -0 "$fleet_child" 2>/dev/null && [ "$fleet_turns" -lt 20 ]; do
    fleet_turns=$((fleet_turns + 1))
    sleep 1
done
kill "$fleet_child" 2>/dev/null
fleet_send
