//! The tables as text: columns in the order in which a dump shows them. `column=attribute` where the attribute of the
//! object has another name. Every table ends with `comments` and `disable`.

use super::{Column, Table};
use crate::wire::ObjectType::{
    self, Boottarget, Firmware, Group, Kit, Kitcomponent, Kitrepo, Monitoring, Network, Node, Notification,
    Osdistro, Osdistroupdate, Osimage, Passwd, Policy, Rack, Route, Zone,
};

pub(super) struct Source {
    name: &'static str,
    kind: ObjectType,
    key: &'static str,
    columns: &'static str,
    only_if: Option<(&'static str, &'static [&'static str])>,
}

impl Source {
    const fn new(name: &'static str, kind: ObjectType, key: &'static str, columns: &'static str) -> Self {
        Self { name, kind, key, columns, only_if: None }
    }

    const fn only_if(mut self, attribute: &'static str, values: &'static [&'static str]) -> Self {
        self.only_if = Some((attribute, values));
        self
    }

    pub(super) fn read(&self) -> Table {
        let column = |word: &'static str| {
            let (name, attribute) = word.split_once('=').unwrap_or((word, word));
            Column { name, attribute: attribute.to_owned(), shown: true }
        };
        let mut columns: Vec<Column> = self.columns.split_whitespace().map(column).collect();
        for name in ["comments", "disable"] {
            if columns.iter().all(|column| column.name != name) {
                columns.push(Column { name, attribute: format!("{}.{name}", self.name), shown: false });
            }
        }
        Table { name: self.name, kind: self.kind, key: self.key, only_if: self.only_if, columns }
    }
}

/// Sorted by name. `sysclone`, `syscloneimage` and `sysclonenetwork` hold the attributes that xCAT does not have.
pub(super) const SOURCE: &[Source] = &[
    Source::new(
        "bootparams",
        Node,
        "node",
        "kernel initrd kcmdline addkcmdline dhcpstatements adddhcpstatements",
    ),
    Source::new("boottarget", Boottarget, "bprofile", "kernel initrd kcmdline comments"),
    Source::new("cfgmgt", Node, "node", "cfgmgr cfgserver roles=cfgmgtroles"),
    Source::new("chain", Node, "node", "currstate currchain chain ondiscover"),
    Source::new(
        "domain",
        Node,
        "node",
        "ou authdomain adminuser=domainadminuser adminpassword=domainadminpassword type=domaintype",
    ),
    Source::new("firmware", Firmware, "file", "cfgfile comments disable"),
    Source::new("hosts", Node, "node", "ip hostnames otherinterfaces"),
    Source::new("hwinv", Node, "node", "cputype cpucount memory disksize"),
    Source::new(
        "hypervisor",
        Node,
        "node",
        "type=hosttype mgr=hostmanager interface=hostinterface cluster=hostcluster",
    ),
    Source::new(
        "ipmi",
        Node,
        "node",
        "bmc bmcport taggedvlan=bmcvlantag bmcid username=bmcusername password=bmcpassword",
    ),
    Source::new(
        "iscsi",
        Node,
        "node",
        "server=iscsiserver target=iscsitarget lun=iscsilun iname=iscsiiname file=iscsifile \
         userid=iscsiuserid passwd=iscsipassword",
    ),
    Source::new(
        "kit",
        Kit,
        "kitname",
        "basename description version release ostype isinternal kitdeployparams kitdir",
    ),
    Source::new(
        "kitcomponent",
        Kitcomponent,
        "kitcompname",
        "description kitname kitreponame basename version release serverroles kitpkgdeps prerequisite driverpacks \
         kitcompdeps postbootscripts genimage_postinstall exlist",
    ),
    Source::new(
        "kitrepo",
        Kitrepo,
        "kitreponame",
        "kitname osbasename osmajorversion osminorversion osarch compat_osbasenames kitrepodir",
    ),
    Source::new(
        "linuximage",
        Osimage,
        "imagename",
        "template boottarget addkcmdline pkglist pkgdir otherpkglist otherpkgdir exlist postinstall rootimgdir \
         kerneldir nodebootif otherifce netdrivers kernelver krpmver permission dump crashkernelsize partitionfile \
         driverupdatesrc comments=usercomment",
    ),
    Source::new("mac", Node, "node", "interface mac"),
    Source::new(
        "mic",
        Node,
        "node",
        "host=michost id=micid bridge=micbridge onboot=miconboot vlog=micvlog powermgt=micpowermgt",
    )
    .only_if("mgt", &["mic"]),
    Source::new("monitoring", Monitoring, "name", "nodestatmon comments disable"),
    Source::new("mp", Node, "node", "mpa id=slotid nodetype=hwtype").only_if("mgt", &["blade"]),
    Source::new("mpa", Node, "mpa", "username password displayname slots urlpath")
        .only_if("nodetype", &["mm"]),
    Source::new(
        "networks",
        Network,
        "netname",
        "net mask mgtifname gateway dhcpserver tftpserver nameservers ntpservers logservers dynamicrange staticrange \
         staticrangeincrement nodehostname ddnsdomain vlanid domain mtu comments=usercomment",
    ),
    Source::new(
        "nics",
        Node,
        "node",
        "nicips nichostnamesuffixes nichostnameprefixes nictypes niccustomscripts nicnetworks nicaliases \
         nicextraparams nicdevices nicsadapter",
    ),
    Source::new(
        "nodegroup",
        Group,
        "groupname",
        "grouptype members membergroups wherevals comments=usercomment",
    ),
    Source::new(
        "nodehm",
        Node,
        "node",
        "power mgt cons termserver termport conserver serialport serialspeed serialflow getmac cmdmapping \
         consoleondemand consoleenabled",
    ),
    Source::new(
        "nodelist",
        Node,
        "node",
        "groups status statustime appstatus appstatustime primarysn hidden updatestatus updatestatustime zonename \
         comments=usercomment",
    ),
    Source::new("nodepos", Node, "node", "rack u=unit chassis slot room height"),
    Source::new(
        "noderes",
        Node,
        "node",
        "servicenode netboot tftpserver tftpdir nfsserver monserver nfsdir installnic primarynic discoverynics \
         cmdinterface xcatmaster current_osimage next_osimage nimserver routenames nameservers proxydhcp syslog",
    ),
    Source::new("nodetype", Node, "node", "os arch profile provmethod supportedarchs nodetype"),
    Source::new("notification", Notification, "filename", "tables tableops comments"),
    Source::new(
        "openbmc",
        Node,
        "node",
        "bmc consport taggedvlan=bmcvlantag username=bmcusername password=bmcpassword",
    )
    .only_if("mgt", &["openbmc"]),
    Source::new(
        "osdistro",
        Osdistro,
        "osdistroname",
        "basename majorversion minorversion arch type dirpaths",
    ),
    Source::new(
        "osdistroupdate",
        Osdistroupdate,
        "osupdatename",
        "osdistroname dirpath downloadtime comments=usercomment",
    ),
    Source::new(
        "osimage",
        Osimage,
        "imagename",
        "groups profile imagetype description provmethod rootfstype osdistroname osupdatename cfmdir osname osvers \
         osarch synclists postscripts postbootscripts serverrole isdeletable kitcomponents environvar",
    ),
    Source::new("passwd", Passwd, "key", "username password cryptmethod authdomain comments=usercomment"),
    Source::new(
        "policy",
        Policy,
        "priority",
        "name host commands noderange parameters time rule comments=usercomment",
    ),
    Source::new("postscripts", Node, "node", "postscripts postbootscripts"),
    Source::new("ppc", Node, "node", "hcp id pprofile parent nodetype=hwtype supernode sfp")
        .only_if("mgt", &["hmc", "ivm", "fsp", "bpa"]),
    Source::new("ppchcp", Node, "hcp", "username password").only_if("nodetype", &["ivm", "hmc", "ppc"]),
    Source::new("prescripts", Node, "node", "begin=prescripts-begin end=prescripts-end"),
    Source::new("prodkey", Node, "node", "product key=productkey"),
    Source::new("rack", Rack, "rackname", "displayname num height room comments=usercomment"),
    Source::new("routes", Route, "routename", "net mask gateway ifname comments=usercomment"),
    Source::new(
        "servicenode",
        Node,
        "node",
        "nameserver=setupnameserver dhcpserver=setupdhcp tftpserver=setuptftp nfsserver=setupnfs \
         conserver=setupconserver monserver=setupmonserver ldapserver=setupldap ntpserver=setupntp \
         ftpserver=setupftp nimserver=setupnim ipforward=setupipforward dhcpinterfaces proxydhcp=setupproxydhcp",
    ),
    Source::new(
        "storage",
        Node,
        "node",
        "osvolume size=storagesize state=storagestate storagepool hypervisor \
         fcprange volumetag type=storagetype controller=storagcontroller",
    ),
    Source::new("switch", Node, "node", "switch vlan=switchvlan port=switchport interface=switchinterface"),
    Source::new(
        "switches",
        Node,
        "switch",
        "snmpversion username=snmpusername password=snmppassword privacy=snmpprivacy auth=snmpauth linkports \
         sshusername=username sshpassword=password protocol switchtype",
    )
    .only_if("nodetype", &["switch"]),
    Source::new(
        "sysclone",
        Node,
        "node",
        "bmcfingerprint hostname installdisk installshell qmpsocket redfishsystem updateexcludes updatepull",
    ),
    Source::new("syscloneimage", Osimage, "imagename", "bootkernel excludes layout keep updateexcludes"),
    Source::new("sysclonenetwork", Network, "netname", "addkcmdline dhcpmode discovery"),
    Source::new(
        "vm",
        Node,
        "node",
        "mgr=vmmanager host=vmhost migrationdest storage=vmstorage storagemodel=vmstoragemodel \
         storagecache=vmstoragecache storageformat=vmstorageformat cfgstore=vmcfgstore memory=vmmemory cpus=vmcpus \
         nics=vmnics nicmodel=vmnicnicmodel bootorder=vmbootorder clockoffset=vmclockoffset virtflags=vmvirtflags \
         master=vmmaster vncport=vmvncport textconsole=vmtextconsole powerstate=vmpowerstate beacon=vmbeacon \
         datacenter=vmdatacenter cluster=vmcluster guestostype=vmguestostype othersettings=vmothersetting \
         physlots=vmphyslots vidmodel=vmvidmodel vidproto=vmvidproto vidpassword=vmvidpassword",
    ),
    Source::new("vpd", Node, "node", "serial mtm side asset uuid"),
    Source::new("websrv", Node, "node", "port=webport username password").only_if("nodetype", &["websrv"]),
    Source::new("winimage", Osimage, "imagename", "installto winpepath").only_if("imagetype", &["windows"]),
    Source::new("zone", Zone, "zonename", "sshkeydir sshbetweennodes defaultzone comments=usercomment"),
    Source::new("zvm", Node, "node", "hcp userid discovered nodetype=hwtype parent").only_if("mgt", &["zvm"]),
];
