"""Devices that a person operates through a screen, behind one contract: phones, browsers, desktops."""
