# bash completion of vmman's commands; made from their parsers by completions/generate.py.

# Takes lines that are names and begin with what is typed. They are never expanded: a file's name
# in somebody's folder must not become a command.
_vmman_take() {
    local line
    while IFS= read -r line; do
        if [[ $line == [A-Za-z0-9]* && $line != *[!A-Za-z0-9_.-]* && $line == "$current"* ]]; then
            COMPREPLY+=("$line")
        fi
    done
}

_vmman() {
    local command=${COMP_WORDS[0]##*/} current=${COMP_WORDS[COMP_CWORD]}
    local options='' valued='' operands='' words='' before='' option='' kind='' file='' word i
    local -a kinds=()
    local -i place=0
    local -a given=()
    COMPREPLY=()
    [[ $current == '=' ]] && current=''
    case $command in
    vm-console)
        options='-h --help --version -e --escape -n --lines -f --follow --web --screenshot'
        valued='-e --escape -n --lines --screenshot'
        operands='name words'
        words='com1 com2 com3 com4'
        ;;
    vm-import)
        options='-h --help --version'
        valued=''
        operands='file'
        ;;
    vm-init)
        options='--check --dry-run --force --grants --help --release --self-check --version -h --for-user --job'
        valued='--for-user --job'
        operands='name'
        ;;
    vm-list)
        options='-h --help --json --names --version'
        valued=''
        operands='name...'
        ;;
    vm-pull)
        options='-h --help --version --provider --arch --list --checksum --insecure --name --format --size --image-only -f --force -q --quiet'
        valued='--provider --arch --checksum --name --format --size'
        operands='file...'
        ;;
    vm-run)
        options='-h --help --version -c --config -t --target -o -d --dry-run --format --explain --debug --check --targets --schema --import --screenshot --no-reboot --reboot-count --reboot-on -f --force --recover --detach --autostart --names --fix --no-requirement-check --events -p -P --panic-on-failed-cleanup'
        valued='-c --config -t --target -o --format --screenshot --reboot-count --reboot-on --events -p -P'
        operands='name'
        ;;
    vm-stop)
        options='-h --help --version --all --timeout -f --force --no-wait --json'
        valued='--timeout'
        operands='name...'
        ;;
    esac
    for ((i = 1; i < ${#COMP_WORDS[@]}; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then
            option=$before place=${#given[@]} before=''
        elif [[ $word == '=' ]]; then
            continue
        elif [[ $before && " $valued " == *" $before "* ]]; then
            [[ $before == -c || $before == --config ]] && file=${word/#\~\//$HOME/}
            before=''
        elif [[ $word == -* ]]; then
            before=$word
        else
            given+=("$word") before=''
        fi
    done
    if [[ $option && " $valued " == *" $option "* ]]; then
        kind=anything
        case "$command $option" in
        'vm-console --screenshot') kind='file' ;;
        'vm-init --for-user') kind='user' ;;
        'vm-pull --format') kind='words' words='raw qcow2' ;;
        'vm-run -c' | 'vm-run --config') kind='file' ;;
        'vm-run -t' | 'vm-run --target') kind='target' ;;
        'vm-run --format') kind='words' words='shell json bhyve-config' ;;
        'vm-run --screenshot') kind='file' ;;
        'vm-run --reboot-on') kind='words' words='reboot poweroff halt triple-fault error suspend killed' ;;
        'vm-run --events') kind='file' ;;
        'vm-run -p') kind='file' ;;
        'vm-run -P') kind='file' ;;
        esac
    elif [[ $current == -* ]]; then
        kind=words words=$options
    else
        read -ra kinds <<<"$operands"
        kind=${kinds[place]-}
        [[ -z $kind && $operands == *... ]] && kind=${kinds[-1]}
        kind=${kind%...}
    fi
    case $kind in
    name) _vmman_take < <(vm-list --names 2>/dev/null </dev/null) ;;
    target)
        if [[ $file ]]; then
            _vmman_take < <(vm-run -c "$file" --targets 2>/dev/null </dev/null)
        elif [[ ${given[0]-} ]]; then
            _vmman_take < <(vm-run "${given[0]}" --targets 2>/dev/null </dev/null)
        fi
        ;;
    user) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current") ;;
    anything) ;;
    *) compopt -o default ;;
    esac
}
complete -F _vmman vm-console vm-import vm-init vm-list vm-pull vm-run vm-stop
