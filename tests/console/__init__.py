"""The console in Chromium, against servers that run workflows."""
