"""SimPhone: a simulated phone, not Android. It speaks adb's wire, and its applications live in a world on a server."""
