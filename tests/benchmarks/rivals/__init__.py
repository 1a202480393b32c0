"""What one would put together instead: a Django project as `startproject` makes it, and a view that tells progress."""
