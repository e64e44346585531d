"""Fakes and builders that several test modules share."""
