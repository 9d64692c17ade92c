"""Android through the adb server: a driver, and what it knows of Android."""
