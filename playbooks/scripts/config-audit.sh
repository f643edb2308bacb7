#!/bin/sh
# Compares settings of a Linux machine with what is wanted, and changes nothing.
#
# Given   ROOT_LOGIN   what PermitRootLogin of sshd should be
# Prints  a line for each check: PASS or FAIL, what, what was found; UNKNOWN where it could not be found out; SKIP where it does not
#         apply. Then "deviations=N", "unknown=N", "failed=" with the names of what is not as wanted, and "looked=" with the number
#         of checks that were made.
# Ends    with 0 if all is as wanted, else 80
set -u
export LC_ALL=C
deviations=0 unknown=0 looked=0 failed=''

note_failure() { failed=${failed:+$failed,}$1; }
judge() { # what, wanted, found: values with commas, each of which must be the wanted one
    looked=$((looked + 1))
    wrong=''
    for value in $(printf '%s' "$3" | tr , ' '); do
        [ "${value%%(*}" = "$2" ] || wrong=yes
    done
    if [ -n "$3" ] && [ -z "$wrong" ]; then
        printf 'PASS %s: %s\n' "$1" "$3"
    else
        printf 'FAIL %s: %s, wanted %s\n' "$1" "${3:-nothing}" "$2"
        deviations=$((deviations + 1))
        note_failure "$1"
    fi
}
cannot_tell() { # what, why
    printf 'UNKNOWN %s: %s\n' "$1" "$2"
    unknown=$((unknown + 1))
    note_failure "$1"
}
judge_answer() { # what, wanted, exit code of the command that answered, its answer, what it asked
    if [ "$3" -eq 0 ] && [ -n "$4" ]; then judge "$1" "$2" "$4"; else cannot_tell "$1" "$5 gave no answer"; fi
}

# ---- sshd: what it says itself where it can, else what its files say; and what any Match block says, whomever it is for

# Lines "context<tab>keyword<tab>value" of a file and of all that it includes, in the order in which sshd reads them. Words of a line
# are parted by blanks or by one "=", may stand in quotes, and a "#" begins a comment. What an included file opens with Match ends with it.
read_sshd() ( # file, context, depth
    context=$2
    if [ "$3" -gt 16 ]; then
        printf 'error\tdepth\t%s\n' "$1"
        return
    fi
    if [ ! -r "$1" ]; then
        printf 'error\tunreadable\t%s\n' "$1"
        return
    fi
    awk '
        { sub(/[ \t\r\f]+$/, ""); sub(/^[ \t]+/, "") }
        /^#/ || !length($0) { next }
        {
            line = $0
            if (!match(line, /^"[^"]*"|^[^ \t="]+/)) next
            key = substr(line, 1, RLENGTH)
            gsub(/"/, "", key)
            line = substr(line, RLENGTH + 1)
            sub(/^[ \t]*(=[ \t]*)?/, "", line)
            words = ""
            while (length(line)) {
                if (substr(line, 1, 1) == "#") break
                if (match(line, /^"[^"]*"/)) word = substr(line, 2, RLENGTH - 2)
                else { match(line, /^[^ \t]+/); word = substr(line, 1, RLENGTH) }
                line = substr(line, RLENGTH + 1)
                sub(/^[ \t]+/, "", line)
                words = words (words == "" ? "" : "\t") word
            }
            print tolower(key) "\t" words
        }' "$1" |
        while IFS='	' read -r key rest; do
            case $key in
                match) context=Match ;; # "all" too: what stands in a Match block goes before what stands outside
                include)
                    printf '%s\n' "$rest" | tr '\t' '\n' | while read -r pattern; do
                        case $pattern in /*) ;; *) pattern=/etc/ssh/$pattern ;; esac
                        IFS='
'
                        for file in $pattern; do
                            [ ! -e "$file" ] || read_sshd "$file" "$context" $(($3 + 1))
                        done
                    done
                    ;;
                *) printf '%s\t%s\t%s\n' "$context" "$key" "${rest%%	*}" ;;
            esac
        done
)

plain() { # a value as all versions of sshd mean it
    tr '[:upper:]' '[:lower:]' | sed 's/^without-password$/prohibit-password/'
}

# The value that holds for everybody, then "value(Match)" for each other one that a Match block gives.
sshd_setting() { # keyword in lower case, sshd's own default
    value=$(printf '%s\n' "$ssh_says" | awk -v key="$1" 'tolower($1) == key {print $2; exit}' | plain)
    if [ -z "$value" ]; then
        value=$(printf '%s\n' "$ssh_files" | awk -F'\t' -v key="$1" '$1 == "global" && $2 == key {print $3; exit}' | plain)
    fi
    value=${value:-$2}
    for other in $(printf '%s\n%s\n' "$ssh_files" "$ssh_root" | awk -F'\t' -v key="$1" '$1 ~ /^Match/ && $2 == key {print $3}' | plain | sort -u); do
        [ "$other" = "${value%%,*}" ] || value="$value,$other(Match)"
    done
    printf '%s' "$value"
}

look_at_sshd() {
    sshd=$(command -v sshd 2>/dev/null)
    for place in /usr/sbin/sshd /usr/local/sbin/sshd /usr/lib/ssh/sshd; do
        [ -n "$sshd" ] || [ ! -x "$place" ] || sshd=$place
    done
    file=''
    for place in /etc/ssh/sshd_config /usr/etc/ssh/sshd_config; do
        [ -n "$file" ] || [ ! -e "$place" ] || file=$place
    done
    if [ -z "$sshd" ] && [ -z "$file" ]; then
        echo 'SKIP ssh: there is no ssh server'
        return
    fi
    ssh_files='' ssh_says='' ssh_root=''
    [ -z "$file" ] || ssh_files=$(read_sshd "$file" global 0)
    if [ -n "$sshd" ]; then
        # Without host keys, or as another user than root, it refuses to answer.
        ssh_says=$("$sshd" -T 2>/dev/null) || ssh_says=''
        ssh_root=$("$sshd" -T -C user=root,host=localhost,addr=127.0.0.1 2>/dev/null | awk '{print "Match\t" tolower($1) "\t" $2}')
    fi
    if printf '%s\n' "$ssh_files" | grep -q '^error' || { [ -z "$file" ] && [ -z "$ssh_says" ]; }; then
        why=$(printf '%s\n' "$ssh_files" | awk -F'\t' '$1 == "error" {print $2 ": " $3; exit}')
        cannot_tell ssh.permit_root_login "${why:-sshd gave no answer}"
        cannot_tell ssh.password_authentication "${why:-sshd gave no answer}"
        return
    fi
    judge ssh.permit_root_login "${ROOT_LOGIN:-no}" "$(sshd_setting permitrootlogin prohibit-password)"
    judge ssh.password_authentication no "$(sshd_setting passwordauthentication yes)"
}

# ---- Files and the kernel

look_at_sshd
code=0
mode=$(stat -c %a /etc/passwd 2>/dev/null) || code=$?
judge_answer passwd.mode 644 "$code" "$mode" "stat of /etc/passwd"
code=0
mode=$(stat -c %a /etc/shadow 2>/dev/null) || code=$?
case $mode in
    *[4-7]) readable=yes ;;
    *[0-3]) readable=no ;;
    *) readable='' ;;
esac
judge_answer shadow.world_readable no "$code" "$readable" "stat of /etc/shadow"
code=0
forward=$(cat /proc/sys/net/ipv4/ip_forward 2>/dev/null) || code=$?
judge_answer sysctl.ip_forward 0 "$code" "$forward" "/proc"

printf 'looked=%s\ndeviations=%s\nunknown=%s\nfailed=%s\n' "$looked" "$deviations" "$unknown" "${failed:-none}"
[ $((deviations + unknown)) -eq 0 ] || exit 80
