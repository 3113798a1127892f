#!/bin/bash
# A real Slurm of one node, for tests and for trying a study out: accounting, time limits, requeue, all in FOLDER.
#   tests/slurm.sh start FOLDER    then: export SLURM_CONF=FOLDER/slurm.conf
#   tests/slurm.sh stop FOLDER
# Needs root and: apt-get install slurmctld slurmd slurmdbd slurm-client munge mariadb-server
set -euo pipefail
action=$1 folder=$(realpath -m "$2")
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin
node=$(hostname -s)

until_works() { # at most a minute
    for _ in $(seq 300); do timeout 5 "$@" >/dev/null 2>&1 && return; sleep 0.2; done
    echo "does not come up: $*; see $folder/*.log" >&2
    exit 1
}

start() {
    mkdir -p "$folder"/{state,spool,munge,database}
    chmod 711 "$folder" && chmod 755 "$folder/munge"
    local ports
    ports=($(python3 -c 'import socket
s = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*[x.getsockname()[1] for x in s])'))

    head -c 1024 /dev/urandom >"$folder/munge/key" && chmod 600 "$folder/munge/key"
    chown -R munge "$folder/munge"
    runuser -u munge -- munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"

    chown mysql "$folder/database"
    mariadb-install-db --user=mysql --datadir="$folder/database" --skip-test-db >"$folder/mariadb.log" 2>&1
    setsid mariadbd --no-defaults --user=mysql --datadir="$folder/database" --socket="$folder/database/socket" \
        --pid-file="$folder/database/pid" --bind-address=127.0.0.1 --port="${ports[0]}" >>"$folder/mariadb.log" 2>&1 &
    until_works mariadb --no-defaults --socket="$folder/database/socket" -e 'select 1'
    mariadb --no-defaults --socket="$folder/database/socket" -e \
        "create database slurm; create user slurm@localhost identified by 'slurm'; grant all on slurm.* to slurm@localhost"

    cat >"$folder/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
DbdHost=localhost
DbdPort=${ports[1]}
SlurmUser=root
LogFile=$folder/slurmdbd.log
PidFile=$folder/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=${ports[0]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
EOF
    chmod 600 "$folder/slurmdbd.conf"
    # A job that is queued again waits for its old credential to end: seconds here, two minutes by default.
    cat >"$folder/slurm.conf" <<EOF
ClusterName=one
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=${ports[2]}
SlurmdPort=${ports[3]}
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=30
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePass=$folder/munge/socket
AccountingStoragePort=${ports[1]}
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP
EOF
    slurmdbd
    until_works sacctmgr -i add cluster one
    slurmctld
    slurmd
    until_works scontrol ping
    until_works sh -c "sinfo -h -o %T | grep -q idle"
}

stop() {
    scontrol shutdown >/dev/null 2>&1 || true
    for name in slurmd slurmctld slurmdbd munge/munge database/mariadb; do
        local file="$folder/$name.pid"
        [ -f "$file" ] || file=$(dirname "$file")/pid
        [ -f "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
    done
}

$action
