"""Cinder backup driver that keeps no data."""
from cinder.backup import driver
from cinder import interface


@interface.backupdriver
class LabBackupDriver(driver.BackupDriver):

    def check_for_setup_error(self):
        pass

    def backup(self, backup, volume_file, backup_metadata=False):
        backup.object_count = 1
        backup.container = 'lab'
        backup.save()
        return {'size': backup.size}

    def restore(self, backup, volume_id, volume_file):
        pass

    def delete_backup(self, backup):
        pass
