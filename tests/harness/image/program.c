/* The only program of a test's image: waits until it is asked to end; with an argument it ends at once. */
#include <signal.h>
#include <unistd.h>

static void end(int signal) {
    (void)signal;
    _exit(0);
}

int main(int count, char **words) {
    (void)words;
    signal(SIGTERM, end);
    while (count == 1) pause();
    return 0;
}
