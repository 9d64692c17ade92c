"""The composition root: settings become objects here, and programs are started and watched."""
