# Who claimed a delivery, and whether a process is still the same.

fleet_boot_id() {
    cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo -
}

fleet_pid_space() {
    fleet_space=$(readlink /proc/self/ns/pid 2>/dev/null)
    fleet_space=${fleet_space#*\[}
    echo "${fleet_space%\]}"
}

# The start time of process $1 in ticks since boot: with it, a process id that was used again is told apart.
fleet_birth() {
    fleet_stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # the fields after the name in brackets are plain words
    set -- ${fleet_stat##*) }
    echo "${20}"
}

# Who claimed the delivery: process, its birth, its pid namespace and the machine's boot.
fleet_read_claim() {
    fleet_owner=$(readlink "$fleet_dir/claim" || ls -ld "$fleet_dir/claim") 2>/dev/null
    fleet_owner=${fleet_owner##* -> }
    fleet_pid=${fleet_owner%%.*} fleet_rest=${fleet_owner#*.}
    fleet_born=${fleet_rest%%.*} fleet_where=${fleet_rest#*.}
    fleet_claim_space=${fleet_where%%.*} fleet_claim_boot=${fleet_where#*.}
}

