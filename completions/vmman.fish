# fish completion of vmman's commands; made from their parsers by completions/generate.py.

function __vmman_given --description 'The operands so far; arguments: the options with a value'
    set -l before
    for word in (commandline -opc)[2..-1]
        if set -q before[1]; and contains -- $before $argv
            set -e before
        else if string match -q -- '-*' $word
            set before $word
        else
            set -e before
            echo $word
        end
    end
end

function __vmman_place --description 'Whether operand number $argv[1] is typed'
    test (count (__vmman_given $argv[2..-1])) -eq (math $argv[1] - 1)
end

function __vmman_targets --description 'The targets of -c FILE, else of the NAME'
    set -l words (commandline -opc)
    set -l call
    for number in (seq (count $words))
        if contains -- $words[$number] -c --config
            set call -c (string replace -r '^~/' "$HOME/" -- $words[(math $number + 1)])
        end
    end
    set -q call[1]; or set call (__vmman_given $argv)[1]
    set -q call[1]; and vm-run $call --targets 2>/dev/null </dev/null
end

complete -c vm-console -e
complete -c vm-console -f
complete -c vm-console -n '__vmman_place 1 -e --escape -n --lines --screenshot' -a '(vm-list --names 2>/dev/null </dev/null)'
complete -c vm-console -n '__vmman_place 2 -e --escape -n --lines --screenshot' -a 'com1 com2 com3 com4'
complete -c vm-console -s h -l help -d 'show this help message and exit'
complete -c vm-console -l version -d 'print the version'
complete -c vm-console -s e -l escape -x -d 'the key that detaches: ^] is Ctrl-]'
complete -c vm-console -s n -l lines -x -d 'lines of history'
complete -c vm-console -s f -l follow -d 'stay when the input has ended'
complete -c vm-console -l web -d 'show the screen in a browser instead'
complete -c vm-console -l screenshot -rF -d 'save the screen as PNG; - for stdout'

complete -c vm-import -e
complete -c vm-import -f
complete -c vm-import -n '__vmman_place 1 ' -F
complete -c vm-import -s h -l help -d 'show this help message and exit'
complete -c vm-import -l version -d 'print the version'

complete -c vm-init -e
complete -c vm-init -f
complete -c vm-init -n '__vmman_place 1 --for-user --job' -a '(vm-list --names 2>/dev/null </dev/null)'
complete -c vm-init -l check
complete -c vm-init -l dry-run
complete -c vm-init -l force
complete -c vm-init -l grants
complete -c vm-init -l help
complete -c vm-init -l release
complete -c vm-init -l self-check
complete -c vm-init -l version
complete -c vm-init -s h
complete -c vm-init -l for-user -xa '(__fish_complete_users)'
complete -c vm-init -l job -x

complete -c vm-list -e
complete -c vm-list -f
complete -c vm-list -a '(vm-list --names 2>/dev/null </dev/null)'
complete -c vm-list -s h -l help -d 'show this help message and exit'
complete -c vm-list -l json -d 'for programs; described in vm-list(1)'
complete -c vm-list -l names -d 'the names only'
complete -c vm-list -l version -d 'print the version'

complete -c vm-pull -e
complete -c vm-pull -f
complete -c vm-pull -F
complete -c vm-pull -s h -l help -d 'show this help message and exit'
complete -c vm-pull -l version -d '\'= != > < >= <= ~>\' as Vagrant has them; alone: the version of vm-pull'
complete -c vm-pull -l provider -x -d 'libvirt, virtualbox, ...'
complete -c vm-pull -l arch -x -d 'amd64, arm64, ...'
complete -c vm-pull -l list -d 'print the versions that there are'
complete -c vm-pull -l checksum -x -d 'what the box must have, over the list\'s'
complete -c vm-pull -l insecure -d 'http is allowed beside https'
complete -c vm-pull -l name -x -d 'what the VM is called'
complete -c vm-pull -l format -xa 'raw qcow2' -d 'the disk\'s; as the box has it when left out'
complete -c vm-pull -l size -x -d 'grow the first disk to this size'
complete -c vm-pull -l image-only -d 'only the disk, as USER-BOX.img in the current folder'
complete -c vm-pull -s f -l force -d 'overwrite what is there'
complete -c vm-pull -s q -l quiet -d 'say nothing but faults'

complete -c vm-run -e
complete -c vm-run -f
complete -c vm-run -n '__vmman_place 1 -c --config -t --target -o --format --screenshot --reboot-count --reboot-on --events -p -P' -a '(vm-list --names 2>/dev/null </dev/null)'
complete -c vm-run -s h -l help -d 'show this help message and exit'
complete -c vm-run -l version -d 'print the version'
complete -c vm-run -s c -l config -rF -d 'a description; - is standard input'
complete -c vm-run -s t -l target -xa '(__vmman_targets -c --config -t --target -o --format --screenshot --reboot-count --reboot-on --events -p -P)' -d 'the target to boot first'
complete -c vm-run -s o -x -d 'override a key of the description, such as mem=2G or cpu.cores=4'
complete -c vm-run -s d -l dry-run -d 'print the command line'
complete -c vm-run -l format -xa 'shell json bhyve-config' -d 'of --dry-run; default shell'
complete -c vm-run -l explain -d 'print each argument <- its key, line by line'
complete -c vm-run -l debug -d 'print the description as it was read'
complete -c vm-run -l check -d 'report what this host lacks'
complete -c vm-run -l targets -d 'print the names of its targets'
complete -c vm-run -l schema -d 'print the JSON Schema of descriptions'
complete -c vm-run -l import -d 'print a description of another tool\'s FILE, or of `-- bhyve ARGS...`'
complete -c vm-run -l screenshot -rF -d 'save a running VM\'s screen as PNG; - is stdout'
complete -c vm-run -l no-reboot -d 'never restart the guest'
complete -c vm-run -l reboot-count -x -d 'restart it at most N times'
complete -c vm-run -l reboot-on -xa 'reboot poweroff halt triple-fault error suspend killed' -d 'restart it after: reboot,poweroff,halt,triple-fault,error,suspend or 0 to 5'
complete -c vm-run -s f -l force -d 'kill an unsupervised guest, then start'
complete -c vm-run -l recover -d 'supervise a guest whose vm-run is gone'
complete -c vm-run -l detach -d 'run in the background once the guest runs'
complete -c vm-run -l autostart -d 'start, in order, each VM with autostart = true'
complete -c vm-run -l names -d 'with --autostart: print them, a line per order'
complete -c vm-run -l fix -d 'apply known repairs for what this host lacks'
complete -c vm-run -l no-requirement-check -d 'start without checking this host'
complete -c vm-run -l events -rF -d 'append events as JSON lines'
complete -c vm-run -s p -rF -d 'write the hypervisor\'s pid'
complete -c vm-run -s P -rF -d 'write vm-run\'s own pid'
complete -c vm-run -l panic-on-failed-cleanup -d 'fail if a leftover stays'

complete -c vm-stop -e
complete -c vm-stop -f
complete -c vm-stop -a '(vm-list --names 2>/dev/null </dev/null)'
complete -c vm-stop -s h -l help -d 'show this help message and exit'
complete -c vm-stop -l version -d 'print the version'
complete -c vm-stop -l all -d 'all your running VMs on this host'
complete -c vm-stop -l timeout -x -d 'force it after S seconds'
complete -c vm-stop -s f -l force -d 'force it at once'
complete -c vm-stop -l no-wait -d 'do not wait for the end'
complete -c vm-stop -l json -d 'print JSON; see vm-stop(1)'
