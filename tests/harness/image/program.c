/* The only program of a test's image: waits until it is asked to end. With an argument it ends at once, and
   well if that is the path of a file. */
#include <signal.h>
#include <unistd.h>

static void end(int signal) {
    (void)signal;
    _exit(0);
}

int main(int count, char **words) {
    signal(SIGTERM, end);
    while (count == 1) pause();
    return access(words[1], F_OK) == 0 ? 0 : 1;
}
