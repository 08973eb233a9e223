/* hold THREAD…: stops threads as a debugger does, says "held", and lets them go on at the end of its input. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const pid_t thread = (pid_t)atoi(argv[i]);
        if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) != 0 ||
            ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) != 0) {
            perror(argv[i]);
            return 1;
        }
        if (waitpid(thread, NULL, __WALL) != thread) return 1;
    }
    puts("held");
    fflush(stdout);
    while (getchar() != EOF) continue;
    return 0;
}
