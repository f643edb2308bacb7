#!/bin/sh
# The lab's stand-in for df: it says what the guest's class says of its disks, whatever the disks of the host are like. What is
# really mounted in the guest (tmpfs) is told as it is. Options that it does not know are answered by the real df.
# /var/lib/lab-disks: lines "source type KiB used-KiB mount-point".
export LC_ALL=C
real=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v df)
posix='' unit=1024 human='' types='' inodes='' fields='' only='' without='' next='' files=''
ask_the_real_one() { exec "$real" "$@"; }

letters() { # the letters of one word of options
    rest=$1
    while [ -n "$rest" ]; do
        case $rest in
            P*) posix=1 ;;
            k*) unit=1024 ;;
            m*) unit=1048576 ;;
            h*) human=1 ;;
            T*) types=1 ;;
            i*) inodes=1 ;;
            l* | a*) ;;
            t*) next=only ;;
            x*) next=without ;;
            *) return 1 ;;
        esac
        rest=${rest#?}
    done
}

[ -r /var/lib/lab-disks ] || ask_the_real_one "$@"
for word; do
    case $next in
        only) only="$only $word" next='' ;;
        without) without="$without $word" next='' ;;
        files) files="$files
$word" ;;
        *)
            case $word in
                --) next=files ;;
                --portability) posix=1 ;;
                --human-readable) human=1 ;;
                --print-type) types=1 ;;
                --inodes) inodes=1 ;;
                --local | --all | --no-sync | --sync) ;;
                --block-size=1 | -B1) unit=1 ;;
                --block-size=[Kk] | -BK) unit=1024 ;;
                --block-size=[Mm] | -BM) unit=1048576 ;;
                --block-size=[Gg] | -BG) unit=1073741824 ;;
                --type=*) only="$only ${word#*=}" ;;
                --exclude-type=*) without="$without ${word#*=}" ;;
                --output=*) fields=$(echo "${word#*=}" | tr , ' ') ;;
                --*) ask_the_real_one "$@" ;;
                -?*) letters "${word#-}" || ask_the_real_one "$@" ;;
                *) files="$files
$word" ;;
            esac ;;
    esac
done

rows() {
    cat /var/lib/lab-disks
    awk '$3 == "tmpfs" {print $2}' /proc/mounts | while read -r place; do
        "$real" -P -k "$place" 2>/dev/null | awk 'NR == 2 {print $1, "tmpfs", $2, $3, $6}'
    done
}

code=0
wanted=''
if [ -n "$files" ]; then
    all=$(rows)
    while read -r file; do
        [ -n "$file" ] || continue
        if ! path=$(readlink -f -- "$file") || [ ! -e "$path" ]; then
            echo "df: $file: No such file or directory" >&2
            code=1
            continue
        fi
        wanted="$wanted
$(printf '%s\n' "$all" | awk -v path="$path" '
            $5 == "/" || $5 == path || index(path, $5 "/") == 1 { if (length($5) > length(best)) { best = $5; row = $0 } }
            END { print row }')"
    done <<END
$files
END
    [ -n "$wanted" ] || exit 1
else
    wanted=$(rows)
fi

printf '%s\n' "$wanted" | awk -v posix="$posix" -v unit="$unit" -v human="$human" -v types="$types" -v inodes="$inodes" \
    -v fields="$fields" -v only="$only" -v without="$without" '
    function percent(used, size) { return size ? sprintf("%d%%", int((100 * used + size - 1) / size)) : "-" }
    function amount(kib,   step, n) {
        if (!human) return int((kib * 1024 + unit - 1) / unit)
        n = kib; step = 1
        while (n >= 1024 && step < 5) { n /= 1024; step++ }
        return n < 10 ? sprintf("%.1f%s", n, substr("KMGTP", step, 1)) : sprintf("%.0f%s", n, substr("KMGTP", step, 1))
    }
    function name_of(field) {
        if (field == "source") return "Filesystem"
        if (field == "fstype") return "Type"
        if (field == "size") return human ? "Size" : unit == 1048576 ? (posix ? "1048576-blocks" : "1M-blocks") : unit == 1 ? "1B-blocks" : posix ? "1024-blocks" : "1K-blocks"
        if (field == "used") return "Used"
        if (field == "avail") return human && !posix ? "Avail" : "Available"
        if (field == "pcent") return posix ? "Capacity" : "Use%"
        if (field == "itotal") return "Inodes"
        if (field == "iused") return "IUsed"
        if (field == "iavail") return "IFree"
        if (field == "ipcent") return "IUse%"
        if (field == "target") return "Mounted on"
        return field
    }
    function value(field) {
        if (field == "source") return $1
        if (field == "fstype") return $2
        if (field == "size") return amount($3)
        if (field == "used") return amount($4)
        if (field == "avail") return amount($3 - $4)
        if (field == "pcent") return percent($4, $3)
        if (field == "itotal") return int($3 / 16)
        if (field == "iused") return int($3 / 320)
        if (field == "iavail") return int($3 / 16) - int($3 / 320)
        if (field == "ipcent") return "5%"
        if (field == "target") return $5
        return "-"
    }
    BEGIN {
        if (fields == "" && inodes) fields = "source" (types ? " fstype" : "") " itotal iused iavail ipcent target"
        if (fields == "") fields = "source" (types ? " fstype" : "") " size used avail pcent target"
        n = split(fields, field, " ")
        for (i = 1; i <= n; i++) line = line (i > 1 ? " " : "") sprintf(i == n ? "%s" : "%-14s", name_of(field[i]))
        print line
    }
    NF == 5 && (only == "" || index(only " ", " " $2 " ")) && !index(without " ", " " $2 " ") {
        line = ""
        for (i = 1; i <= n; i++) line = line (i > 1 ? " " : "") sprintf(i == n ? "%s" : "%-14s", value(field[i]))
        print line
    }'
exit "$code"
