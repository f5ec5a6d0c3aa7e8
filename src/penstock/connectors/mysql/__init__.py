"""MySQL and MariaDB: PyMySQL speaks to the server, a codec of our own carries rows between its wire and Arrow."""
