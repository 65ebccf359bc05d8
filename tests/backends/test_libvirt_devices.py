"""What the backend reads from a domain's XML."""

from xmcompat.backends.devices_glance import disk_uses
from xmcompat.backends.hypervisor import DiskUse
from xmcompat.backends.libvirt_devices import bridge_name, domain_identity, named_devices

XML = """
<domain type='kvm'>
  <name>web1</name>
  <uuid>0b1c2d3e-0000-4000-8000-00163e000001</uuid>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='/srv/web1.qcow2'/>
      <backingStore type='file'><source file='/srv/base.img'/>
        <backingStore type='block'><source dev='/dev/vg0/root'/><backingStore/></backingStore>
      </backingStore>
      <target dev='vda'/>
    </disk>
    <disk type='block' device='disk'><source dev='/dev/vg0/data'/><target dev='vdb'/><shareable/></disk>
    <disk type='file' device='cdrom'><source file='/srv/cd.iso'/><target dev='hdc'/><readonly/></disk>
    <disk type='file' device='cdrom'><target dev='hdd'/><readonly/></disk>
    <disk type='network' device='disk'><source protocol='nbd' name='x'/><target dev='vdc'/></disk>
    <interface type='bridge'><source bridge='xenbr0'/></interface>
    <interface type='user'/>
    <interface type='bridge'><source bridge='xenbr1'/></interface>
  </devices>
</domain>
"""


def test_the_disks_of_a_guest_and_the_images_beneath_them() -> None:
    assert disk_uses(XML) == [
        DiskUse("web1", "/srv/web1.qcow2", False, False, "qcow2"),
        DiskUse("web1", "/srv/base.img", True, False),
        DiskUse("web1", "/dev/vg0/root", True, False),
        DiskUse("web1", "/dev/vg0/data", False, True),
        DiskUse("web1", "/srv/cd.iso", True, False),
    ]


def test_the_devices_of_a_new_guest_in_their_order() -> None:
    bridges, disks = named_devices(XML)
    assert bridges == ["xenbr0", "", "xenbr1"]
    assert disks == [
        ("/srv/web1.qcow2", "vda"), ("/dev/vg0/data", "vdb"), ("/srv/cd.iso", "hdc"), ("", "hdd"), ("", "vdc"),
    ]  # fmt: skip


def test_a_disk_goes_by_the_name_of_its_configuration_where_that_was_kept() -> None:
    xml = XML.replace("<target dev='vda'/>", "<target dev='vda'/><alias name='ua-xvda2'/>")
    assert named_devices(xml)[1][:2] == [("/srv/web1.qcow2", "xvda2"), ("/dev/vg0/data", "vdb")]
    assert named_devices(xml.replace("ua-xvda2", "virtio-disk0"))[1][0] == ("/srv/web1.qcow2", "vda")


def test_name_and_uuid_of_a_new_guest() -> None:
    assert domain_identity(XML) == ("web1", "0b1c2d3e-0000-4000-8000-00163e000001")
    assert domain_identity("<domain><name>a</name></domain>") == ("a", "")


def test_xml_that_cannot_be_read_names_nothing() -> None:
    assert named_devices("<domain>") == ([], [])
    assert domain_identity("") == ("", "")


def test_only_bridges_are_bridges() -> None:
    assert bridge_name("<interface type='bridge' name='xenbr0'/>") == "xenbr0"
    assert bridge_name("<interface type='ethernet' name='eth0'/>") is None
