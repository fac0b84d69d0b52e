#ifndef HUSK_CLI_VERSION_H
#define HUSK_CLI_VERSION_H

#define HUSK_VERSION "0.1.0"

#endif
