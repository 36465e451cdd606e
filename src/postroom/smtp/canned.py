"""What the listener says of its own accord."""

from __future__ import annotations

from postroom.smtp.commands import line, reply

INVITATION = b"354 End the content with <CR><LF>.<CR><LF>\r\n"
OK = line(250, "2.0.0", "Ok")
OK_SENDER = reply(250, "2.1.0", "Ok")
BYE = line(221, "2.0.0", "Bye")
HELP = line(214, "2.0.0", "MAIL, RCPT, DATA, RSET, NOOP, VRFY and QUIT are known here")
CANNOT_VERIFY = line(252, "2.1.5", "Cannot verify, but will take a mail to be tried")
UNKNOWN = line(500, "5.5.1", "This command is not known here")
NOT_OFFERED = line(502, "5.5.1", "This command is not offered here")
NOT_A_LINE = line(500, "5.5.2", "A command is one line that ends in CRLF, without control characters")
LINE_TOO_LONG = line(500, "5.5.2", "The line is too long")
NO_NAME = line(501, "5.5.4", "Say EHLO or HELO with your host name")
NO_ARGUMENT = line(501, "5.5.4", "This command takes no argument")
HELO_FIRST = line(503, "5.5.1", "Say EHLO first")
NESTED = line(503, "5.5.1", "A mail transaction is open already")
MAIL_FIRST = line(503, "5.5.1", "Say MAIL first")
NO_RECIPIENT = line(554, "5.5.1", "No valid recipients")
TOO_MANY_RECIPIENTS = line(452, "4.5.3", "Too many recipients, send the rest in another transaction")
CONTENT_TOO_EARLY = line(554, "5.5.0", "Content before it was invited")
BARE_LINE_END = line(550, "5.6.11", "The content holds a bare CR or LF, lines end in CRLF")
NO_ROOM = line(452, "4.3.1", "No room for this mail at the moment, try again later")
TROUBLE = reply(451, "4.3.0", "Trouble on our side, try again later")
TOO_MANY_ERRORS = line(421, "4.7.0", "Too many errors")
NOT_SMTP = line(421, "4.7.0", "This is SMTP")
TOO_SLOW = line(421, "4.4.2", "Too slow, closing")
CLOSING = line(421, "4.3.2", "Closing down, try again later")
TOO_MANY_CONNECTIONS = line(421, "4.7.0", "Too many connections, try again later")
