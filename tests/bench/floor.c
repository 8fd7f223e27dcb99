/* The floor: what the kernel alone asks for one throw-away container. New namespaces by one clone3, an overlay,
 * pivot_root, proc, exec of the same program; no limits, no system call filter, no capabilities dropped, no link, no
 * record. Nobody would want to run a container like that; nothing that does more can be faster.
 *
 * Usage: floor LOWER SCRATCH PROGRAM [ARGUMENT...]
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		_exit(125);
	}
}

static void child(const char *root, const char *options, char **program)
{
	must(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
	must(mount("overlay", root, "overlay", 0, options), "overlay");
	must(chdir(root), "chdir");
	must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "umount2");
	must(execve(program[0], program, (char *[]){ "PATH=/bin", NULL }), "execve");
}

int main(int count, char **words)
{
	if (count < 4) {
		fprintf(stderr, "usage: floor LOWER SCRATCH PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	char root[512], upper[512], work[512], inner[512], options[2048];
	snprintf(root, sizeof root, "%s/root", words[2]);
	snprintf(upper, sizeof upper, "%s/upper", words[2]);
	snprintf(work, sizeof work, "%s/work", words[2]);
	snprintf(inner, sizeof inner, "%s/work/work", words[2]);
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", words[1], upper, work);
	mkdir(root, 0755);
	must(mkdir(upper, 0755), "mkdir upper");
	must(mkdir(work, 0755), "mkdir work");
	struct clone_args arguments = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET,
		.exit_signal = SIGCHLD,
	};
	long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
	must(pid, "clone3");
	if (pid == 0)
		child(root, options, words + 3);
	int status;
	must(waitpid(pid, &status, 0), "waitpid");
	must(rmdir(inner), "rmdir work/work");
	must(rmdir(work), "rmdir work");
	must(rmdir(upper), "rmdir upper");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
