"""Bytes of SysEx become unique patches."""
