"""Trunk driver with nothing behind it: a trunk is ACTIVE once it is made."""
from neutron.services.trunk.drivers import base
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events
from neutron_lib.callbacks import registry
from neutron_lib.callbacks import resources
from neutron_lib.services.trunk import constants


class LabTrunkDriver(base.DriverBase):

    def __init__(self):
        super().__init__('lab', (portbindings.VIF_TYPE_OVS,),
                         (constants.SEGMENTATION_TYPE_VLAN,),
                         can_trunk_bound_port=True)
        registry.subscribe(self._made, resources.TRUNK, events.AFTER_CREATE)

    @property
    def is_loaded(self):
        return True

    def _made(self, resource, event, trunk_plugin, payload):
        payload.latest_state.update(status=constants.TRUNK_ACTIVE_STATUS)
