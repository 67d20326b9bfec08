-- Parts of many columns are written with buffers that begin small.
ALTER TABLE asset_version MODIFY SETTING ${small_buffers};
ALTER TABLE asset MODIFY SETTING ${small_buffers};
ALTER TABLE charge MODIFY SETTING ${small_buffers};
