"""New York's flights of 2013 as a loop: will this flight arrive more than 15 minutes late?"""
