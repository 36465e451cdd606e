"""All that an installation keeps, taken out of one database and put into another: backup, restore, move.

Rows travel in one neutral form, whichever database they come from and go to (`rows`), so a backup made on
SQLite is restored into PostgreSQL and the other way round.
"""
