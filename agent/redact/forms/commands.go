package forms

import (
	"path"
	"regexp"
	"strings"

	"github.com/reeve-cloud/reeve/agent/redact/names"
)

// commands are well-known programs with arguments that are secrets, or
// user:password, where the name of a flag says nothing, so that the program must be known.
var commands = []struct {
	// programs, flags and verb are regular expressions of whole words.
	programs string
	// flags are those that a secret follows; glued and apart say how: -pVALUE, -p VALUE.
	flags        string
	glued, apart bool
	// mark stands in the value before the secret: USER%PASSWORD. Where it is missing there is none.
	mark string
	// verb are words behind which the nth word that is no flag is a secret, counted
	// From 1; from the last with -1. A flag that must be there may stand for it.
	verb string
	// flagged says that verb is a flag.
	flagged bool
	nth     int
}{
	{programs: `mysql\w*|mariadb[\w-]*|xtrabackup|innobackupex`, flags: `-p`, glued: true},
	{programs: `curl`, flags: `-[sSfLkvi]*[uU]|--user|--proxy-user`, glued: true, apart: true},
	{programs: `redis-\w+|valkey-\w+`, flags: `-a`, glued: true, apart: true},
	{programs: `sshpass|mongo\w*|rabbitmqadmin|cqlsh|nodetool|useradd|usermod|fence_\w+|redfishtool|cypher-shell|rdesktop|kopia|(?i:psexec(?:64)?|paexec)`,
		flags: `-p`, glued: true, apart: true},
	{programs: `nodetool|plink|pscp|psftp`, flags: `-pw`, apart: true},
	{programs: `ldap\w+`, flags: `-w`, glued: true, apart: true},
	{programs: `slappasswd`, flags: `-s`, apart: true},
	{programs: `sqlcmd|bcp|isql|tsql|ipmitool|zip|unzip|ipmi-\w+|ipmipower|ncli`, flags: `-P`, glued: true, apart: true},
	{programs: `ipmi-\w+|ipmipower|racadm|7z|7za|unrar|rar`, flags: `-h?p`, glued: true, apart: true},
	{programs: `ipmitool`, flags: `-[kKY]`, apart: true},
	{programs: `ipmitool`, verb: `user set password`, nth: 2},
	{programs: `smbclient|rpcclient|winexe`, flags: `-U`, glued: true, apart: true},
	{programs: `lftp|sqoop|ncftp`, flags: `-u`, apart: true},
	{programs: `etcdctl`, flags: `--user`, apart: true},
	{programs: `docker|podman|nerdctl|buildah|skopeo|oras|crane|helm|oc|az|ibmcloud`, verb: `login`, flags: `-p`, apart: true, glued: true},
	{programs: `openssl`, flags: `-[kK]|-iv|-passin|-passout|-pass|-psk|-srppass`, apart: true},
	{programs: `snmp\w+`, flags: `-[cAXk]|-3[mM]`, glued: true, apart: true},
	{programs: `iscsiadm`, flags: `-v|--value`, apart: true},
	{programs: `keytool|jarsigner`, flags: `-storepass|-keypass|-srcstorepass|-deststorepass|-destkeypass`, apart: true},
	{programs: `gpg2?`, flags: `--passphrase`, apart: true},
	{programs: `xfreerdp|wfreerdp|xfreerdp3`, flags: `/p:|/pth:`, glued: true},
	{programs: `wpa_passphrase`, nth: 2},
	{programs: `virsh`, flags: `--base64`, apart: true},
	{programs: `virsh`, verb: `secret-set-value`, nth: 2},
	{programs: `mosquitto_\w+`, flags: `-P|--pw`, apart: true},
	{programs: `smbclient`, nth: 2},
	{programs: `openssl`, verb: `passwd`, nth: -1},
	{programs: `mkpasswd`, nth: -1},
	{programs: `rabbitmqctl`, verb: `add_user|change_password|authenticate_user`, nth: 2},
	{programs: `htpasswd`, verb: `-\w*b\w*`, flagged: true, nth: -1},
	{programs: `vault|bao`, verb: `operator unseal|login|unwrap|operator rekey|operator generate-root`, nth: 1},
	{programs: `bao|vault`, flags: `-otp|-decode`, apart: true},
	{programs: `mc|mcli`, verb: `alias set`, nth: 4},
	{programs: `mc|mcli`, verb: `config host add`, nth: 4},
	{programs: `sqlplus|rman|expdp|impdp|sqlldr`, nth: 1},
	{programs: `chpasswd|kinit`, flags: `<<<`, apart: true},
	{programs: `nmcli`, flags: `(?:\S+\.)?(?:psk|password|wep-key\d?|leap-password)`, apart: true},
	{programs: `iwconfig`, flags: `key`, apart: true},
	{programs: `redis-cli|valkey-cli`, verb: `(?i:auth)`, nth: -1},
	{programs: `ceph|rados|rbd`, flags: `--key`, apart: true},
	{programs: `mount\.ceph`, flags: `--secret`, apart: true},
	{programs: `kubeadm|k3s|rke2`, flags: `--certificate-key|-t`, apart: true},
	{programs: `cryptsetup`, flags: `--volume-key|--key`, apart: true},
	{programs: `net`, verb: `user`, nth: 2},
	{programs: `net`, verb: `use`, nth: 3},
	{programs: `smbpasswd`, flags: `-w`, apart: true},
	{programs: `https?|xhs?`, flags: `-a|--auth`, glued: true, apart: true},
	{programs: `curl`, flags: `(?:-E|--cert=|--proxy-cert=)[^:]+:`, glued: true},
	{programs: `curl`, flags: `-E|--cert|--proxy-cert`, mark: ":", apart: true},
	{programs: `curl`, flags: `-b|--cookie`, mark: "=", apart: true},
	{programs: `net|wbinfo|smbget|rpcclient`, flags: `(?:-U|--user=|--authenticate=)[^%]*%`, glued: true},
	{programs: `net|wbinfo|smbget|rpcclient`, flags: `-U|--user|--authenticate`, mark: "%", apart: true},
	{programs: `kadmin(?:\.local)?`, flags: `-w`, glued: true, apart: true},
	{programs: `addprinc|add_principal|ank|cpw|change_password|kadmin\S*`, flags: `-pw`, apart: true},
	{programs: `db2`, verb: `using`, nth: 1},
	{programs: `beeline|elasticsearch-users|mcrcon|ilorest|code-server`, flags: `-p`, glued: true, apart: true},
	{programs: `zkCli(?:\.sh)?|zookeeper-client|zookeeper-shell(?:\.sh)?|addauth`, verb: `digest`, nth: 1},
	{programs: `neo4j-admin`, verb: `set-initial-password`, nth: 1},
	{programs: `etcdctl`, verb: `user add|user passwd`, nth: 1},
	{programs: `grafana-cli|grafana`, verb: `reset-admin-password`, nth: 1},
	{programs: `ngrok`, verb: `authtoken|add-authtoken`, nth: 1},
	{programs: `pro|ua`, verb: `attach`, nth: 1},
	{programs: `SUSEConnect`, flags: `-r|--regcode`, glued: true, apart: true},
	{programs: `ipmicfg`, verb: `setpwd`, flagged: true, nth: 2},
	{programs: `racadm\d?`, verb: `set \S*[Pp]assword`, nth: 1},
	{programs: `ipmiutil|freeipmi\S*`, flags: `-P`, glued: true, apart: true},
	{programs: `kubectl|oc`, flags: `--from-literal=[^=]+=`, glued: true},
	{programs: `kubeadm`, verb: `token create`, nth: 1},
	{programs: `microk8s(?:\.join)?`, verb: `join`, nth: 1},
	{programs: `rootpw`, verb: `--plaintext|--iscrypted`, flagged: true, nth: -1},
	{programs: `rclone`, verb: `obscure`, nth: 1},
	{programs: `aws`, verb: `configure set \S*(?:secret|token)\S*`, nth: 1},
	{programs: `mysqladmin|mariadb-admin`, verb: `password`, nth: 1},
	{programs: `influx`, flags: `-t`, apart: true},
	{programs: `gitlab-runner`, verb: `register`, flags: `-r`, glued: true, apart: true},
	{programs: `ldappasswd`, flags: `-[sa]`, glued: true, apart: true},
	{programs: `ttyd|gotty`, flags: `-c|--credential`, glued: true, apart: true},
	{programs: `transmission-\w+`, flags: `-v|--password`, apart: true},
	{programs: `transmission-remote`, flags: `-n|--auth`, apart: true},
	{programs: `ss-server|ss-local|ss-redir|ss-tunnel|sslocal|ssserver`, flags: `-k`, glued: true, apart: true},
	{programs: `open`, flags: `-u`, apart: true},
	{programs: `nomad|consul|serf`, flags: `-install|-use|-remove`, glued: true, apart: true},
	{programs: `ssh-keygen`, flags: `-N|-P`, glued: true, apart: true},
	{programs: `lynx`, flags: `-auth|-pauth`, glued: true, apart: true},
	{programs: `sendEmail`, flags: `-xp`, apart: true},
	{programs: `ceph`, verb: `config-key set|config-key put|ac-user-create`, nth: 2},
	{programs: `hudson\.remoting\.jnlp\.Main|jenkins-(?:agent|slave)`, verb: `-(?:url|webSocket|tunnel|workDir|headless|noreconnect|noCertificateCheck|direct|disableHttpsCertValidation)`, flagged: true, nth: -2},
	{programs: `(?i:schtasks|psexec(?:64)?)`, flags: `(?i:/r?p)`, apart: true},
	{programs: `check_(?:http|curl)`, flags: `-a|--authorization`, apart: true},
	{programs: `check_(?:snmp\w*|nwc_health|ifoperstatus|ifstatus)`, flags: `-[CAX]`, glued: true, apart: true},
	{programs: `check_(?:mssql\w*|sqlsvr|wmi\w*|vmware\w*|esx\w*|radius)`, flags: `-p`, glued: true, apart: true},
	{programs: `check_mysql\w*|check_pgsql|check_ldaps?`, flags: `-p`, glued: true, apart: true},
}

// command is one of commands, compiled.
type command struct {
	program *regexp.Regexp // the whole name of the program
	glued   *regexp.Regexp // a whole argument with a value in it; may be nil
	apart   *regexp.Regexp // a whole argument before a value; may be nil
	verb    *regexp.Regexp // the words before, joined by blanks; may be nil
	flagged bool
	nth     int
	mark    string
}

var compiled = func() (list []command) {
	for _, f := range commands {
		c := command{program: regexp.MustCompile(`^(?:` + f.programs + `)$`), nth: f.nth, flagged: f.flagged, mark: f.mark}
		if f.flags != "" {
			// A long flag takes its value behind = too.
			value := `=?`
			if strings.Contains(f.flags, "[^") && !f.apart {
				value = ``
			} else if !f.glued {
				value = `=`
			}
			c.glued = regexp.MustCompile(`(?s)^((?:` + f.flags + `)` + value + `).+$`)
			if f.apart {
				c.apart = regexp.MustCompile(`^(?:` + f.flags + `)$`)
			}
		}
		if f.verb != "" {
			c.verb = regexp.MustCompile(`(?:^|\s)(?:` + f.verb + `)$`)
		}
		list = append(list, c)
	}
	return list
}()

// programs are hints of those programs. Short names are looked for with what
// stands around them.
var programs = func() []string {
	list := strings.Fields(`mysql mariadb unzip xtrabackup innobackupex curl redis- valkey- sshpass mongo ldap sqlcmd rabbitmq smbclient
		etcdctl cqlsh nodetool useradd usermod plink pscp psftp slappasswd isql tsql ipmi racadm unrar rpcclient winexe lftp
		sqoop ncftp ibmcloud openssl snmp iscsiadm keytool jarsigner gpg freerdp wpa_passphrase virsh htpasswd mcli
		sqlplus expdp impdp sqlldr chpasswd kinit nmcli iwconfig mount.ceph cockroach kubeadm cryptsetup smbpasswd
		mkpasswd mosquitto_ fence_ redfishtool cypher-shell rdesktop
		wbinfo smbget kadmin addprinc add_principal change_password beeline elasticsearch-users mcrcon ilorest zkcli
		zookeeper- addauth neo4j-admin
		grafana-cli ngrok suseconnect ipmicfg ipmiutil freeipmi kubectl microk8s rootpw rclone influx gitlab-runner ttyd gotty transmission-
		ss-server ss-local ss-redir ss-tunnel sslocal ssserver`)
	list = append(list, "ssh-keygen", "sendemail", "kopia", "psexec", "paexec", "schtasks", "hudson.remoting", "jenkins-agent", "jenkins-slave", "check_mysql", "check_http", "check_curl", "check_snmp", "check_nwc", "check_if", "check_mssql", "check_sqlsvr", "check_wmi", "check_vmware",
		"check_esx", "check_radius", "check_pgsql", "check_ldap")
	short := `nomad consul serf lynx http https xh xhs db2 pro ua aws ank cpw open grafana bcp ncli 7z 7za zip docker podman nerdctl buildah
		skopeo oras crane helm oc az vault bao mc rman ceph rados rbd k3s rke2 rar net`
	for name := range strings.FieldsSeq(short) {
		list = append(list, " "+name+" ", "/"+name+" ", "\""+name+" ", "'"+name+" ", "\""+name+"\"", "'"+name+"'", "/"+name+"\"", "\n"+name+" ")
	}
	return list
}()

const (
	// maxArguments is how many arguments of one program are looked at, and
	// maxLooks how many of all programs in one command line.
	maxArguments = 4096
	maxLooks     = 1 << 14
	// maxBefore is how many arguments may stand before a verb.
	maxBefore = 16
)

// Argument is one that is a secret behind its first bytes, which are kept.
type Argument struct {
	Keep int
	By   string
}

// Arguments returns which arguments of known programs are secrets.
func Arguments(args []string) map[int]Argument {
	masked := make(map[int]Argument)
	looks := maxLooks
	var room [96]byte
	for n, arg := range args {
		if arg == "" || arg[0] == '-' {
			continue
		}
		if len(arg) > 64 {
			arg = arg[len(arg)-64:]
		}
		name := strings.TrimSuffix(path.Base(arg), ".exe")
		if looks <= 0 || seek(Anything, append(append(append(room[:0], ' '), name...), ' '), false)&AboutPrograms == 0 {
			continue
		}
		rest := args[n+1 : min(len(args), n+1+maxArguments)]
		for _, c := range compiled {
			if !c.program.MatchString(name) {
				continue
			}
			looks -= len(rest)
			c.apply(rest, func(k, keep int) {
				if !names.Harmless(rest[k][keep:]) {
					masked[n+1+k] = Argument{keep, "argument of " + name}
				}
			})
		}
	}
	return masked
}

// apply finds the secrets among the arguments of the program.
func (c *command) apply(args []string, mask func(n, keep int)) {
	begin := 0
	var words []int // those that are no flags
	if c.verb != nil {
		begin = -1
		var said string
		for n, arg := range args {
			if n == maxBefore {
				break
			}
			said = said[max(0, len(said)-64):]
			if arg == "" || arg[0] == '-' && !c.flagged {
				continue
			}
			if said += " " + arg; c.verb.MatchString(said) {
				begin = n + 1
				break
			}
		}
		if begin < 0 {
			return
		}
	}
	for n, arg := range args {
		if n >= begin && arg != "" && arg[0] != '-' && !strings.Contains(arg, "=") {
			words = append(words, n)
		}
		if c.glued == nil {
			continue
		}
		if c.apart != nil && c.apart.MatchString(arg) {
			if n+1 < len(args) && args[n+1] != "" && (args[n+1][0] != '-' || len(args[n+1]) > 2) {
				keep := 0
				if c.mark != "" {
					if keep = 1 + strings.Index(args[n+1], c.mark); keep == 0 || keep == len(args[n+1]) {
						continue
					}
				}
				mask(n+1, keep)
			}
		} else if c.mark != "" {
			continue
		} else if m := c.glued.FindStringSubmatchIndex(arg); m != nil {
			mask(n, m[3])
		}
	}
	switch {
	case c.nth > 0 && len(words) >= c.nth:
		mask(words[c.nth-1], 0)
	case c.nth < 0 && len(words) >= -c.nth:
		mask(words[len(words)+c.nth], 0)
	}
}

// CommandLines finds the secrets of known programs in the command lines in a text.
func CommandLines(s string) (found Secrets) {
	shellWords(s, 0, len(s), 0, func(line []Span) {
		args := make([]string, len(line))
		for n, w := range line {
			args[n] = s[w.From:w.To]
		}
		for n, of := range Arguments(args) {
			found = append(found, Secret{Span{line[n].From + of.Keep, line[n].To}, of.By})
		}
	})
	return found
}
