"""SimPhone: a simulated phone, not Android, that the real adb drives."""
