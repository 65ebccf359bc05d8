"""Save, restore and live migration."""
