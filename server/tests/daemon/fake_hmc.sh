#!/bin/sh
# A FAKE HMC, or IVM when the file `ivm` is in its folder: the forced command of a real sshd. No real one was at hand.
# It takes the options that IBM's pages give for each command and no others (`HMC Manual Reference Pages` lpar_netboot
# and chsysstate; `IVM chsysstate command`), and answers with:
#
#   recorded   "Running", "Not Activated", "No results were found.", the dialogue of lpar_netboot, "can not find mac
#              address", "bootp operation failed." with status 0: xCAT's PPCcli.pm, PPCpower.pm, PPCboot.pm, and for
#              the whole dialogue an administrator's notes on installing by NIM
#   recorded   "No network adapters found", "Unable to obtain network adapter information. Quitting.": the notes of
#              people who install OpenShift on partitions
#   recorded   that `chsysstate -o on` without a profile fails with HSCL3680 on a new partition, and -m with a name
#              that is no system's with HSCL8018; MODELLED are the words after both numbers
#   MODELLED   what is said to an unknown profile, and to an option that does not exist
dir=$1
. "$dir/machine" # system, profile, name, mac

note() { printf '%s|' "$@" >> "$dir/calls"; echo >> "$dir/calls"; }
fail() { echo "$*" >&2; exit 1; }
misused() { fail "An invalid parameter was entered: $1. Please check your command line."; }

on_system() {
    [ "$1" = "$system" ] || fail "HSCL8018 The managed system $1 was not found. Check your entry and retry the command."
}

lssyscfg() {
    note lssyscfg "$@"
    while [ $# -gt 0 ]; do
        case $1 in
        -r) [ "$2" = lpar ] || misused "$2" ;;
        -m) on_system "$2" ;;
        --filter) filter=$2 ;;
        -F) [ "$2" = state,name ] || misused "$2" ;;
        *) misused "$1" ;;
        esac
        shift 2
    done
    [ "$filter" = lpar_ids=3 ] || { echo "No results were found."; exit 0; }
    [ -e "$dir/on" ] && echo "Running,$name" || echo "Not Activated,$name"
}

chsysstate() {
    note chsysstate "$@"
    operation='' wanted='' words=''
    while [ $# -gt 0 ]; do
        case $1 in
        -r) [ "$2" = lpar ] || misused "$2"; shift ;;
        -m) on_system "$2"; shift ;;
        -o) operation=$2; shift ;;
        --id) [ "$2" = 3 ] || misused "$2"; shift ;;
        -f) [ ! -e "$dir/ivm" ] || misused -f; wanted=$2; shift ;;
        --immed | --restart) words="$words $1" ;;
        *) misused "$1" ;;
        esac
        shift
    done
    case "$operation$words" in
    on)
        if [ ! -e "$dir/ivm" ]; then
            [ -n "$wanted" ] || fail "HSCL3680 The partition has no current configuration. Activate it with a profile."
            [ "$wanted" = "$profile" ] || fail "The profile $wanted does not exist in partition $name."
        fi
        touch "$dir/on" ;;
    "shutdown --immed" | osshutdown) rm -f "$dir/on" ;;
    "shutdown --immed --restart" | dumprestart) touch "$dir/on" ;;
    *) misused "$operation$words" ;;
    esac
}

lpar_netboot() {
    note lpar_netboot "$@"
    adapter='' client='' server='' gateway='' mask='' type='' speed='' duplex=''
    while getopts vxfiMnADaE:g:l:m:t:T:s:d:S:G:C:K:V:Y:B:y:z: option; do
        case $option in
        m) adapter=$OPTARG ;; t) type=$OPTARG ;; s) speed=$OPTARG ;; d) duplex=$OPTARG ;;
        S) server=$OPTARG ;; G) gateway=$OPTARG ;; C) client=$OPTARG ;; K) mask=$OPTARG ;;
        \?) exit 1 ;;
        esac
    done
    shift $((OPTIND - 1))
    [ $# = 3 ] && [ "$1" = "$name" ] && [ "$type$speed$duplex" = entautoauto ] || misused "$*"
    on_system "$3"
    [ "$2" = "$profile" ] || fail "The profile $2 does not exist in partition $name."
    printf '# %s\n' "Connecting to $name." Connected "Checking for power off." "Power off the node" \
        "Wait for power off." "Power off complete." "Power on $name to Open Firmware." "Power on complete."
    touch "$dir/on"
    if [ -e "$dir/cut" ]; then # the sshd that serves this session
        kill -KILL "$PPID"
        exit 0
    fi
    if [ -e "$dir/no-adapter" ]; then
        echo "lpar_netboot : No network adapters found"
        echo "lpar_netboot: Unable to obtain network adapter information. Quitting."
        exit 1
    fi
    [ "$adapter" = "$mac" ] || { echo "lpar_netboot: can not find mac address $adapter."; exit 1; }
    printf '# %s\n' "Client IP address is $client." "Server IP address is $server." \
        "Gateway IP address is $gateway." "Subnetmask IP address is $mask." "Getting adapter location codes." \
        "/vdevice/l-lan@30000002 ping successful." "Network booting install adapter."
    echo "lpar_netboot Status: network boot initiated"
    echo "# bootp sent over network."
    echo "lpar_netboot Status: waiting for the boot image to boot up."
    if [ -e "$dir/silent" ]; then
        rm "$dir/silent"
        echo "lpar_netboot: bootp operation failed."
        exit 0
    fi
    printf '# %s\n' "Network boot proceeding, lpar_netboot is exiting." Finished.
}

# As on an HMC, what arrives is a shell's text.
eval "$SSH_ORIGINAL_COMMAND"
