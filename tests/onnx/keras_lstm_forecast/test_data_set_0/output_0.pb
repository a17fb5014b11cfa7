B
Identity:0JW0Ç¾Ô¿Q>¸<¾