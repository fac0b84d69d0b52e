/* Interpreters: Lua (linked in), BusyBox awk and sh (started as programs). */
#include "harness.h"
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static lua_State *L;
static const char script[] =
    "local function fib(n) if n < 2 then return n end return fib(n-1) + "
    "fib(n-2) end\n"
    "local Acc = {} Acc.__index = Acc\n"
    "function Acc:add(x) self.sum = self.sum + x return self end\n"
    "function bench(n)\n"
    "  local h = 0\n"
    "  for i = 1, n do\n"
    "    local t, a = {}, setmetatable({sum = 0}, Acc)\n"
    "    for j = 1, 60 do t[j] = (j * 7919 + i) % 101; a:add(t[j]) end\n"
    "    table.sort(t)\n"
    "    local s = table.concat(t, ',')\n"
    "    local c = 0\n"
    "    for w in s:gmatch('%d+') do c = c + #w end\n"
    "    h = (h * 31 + c + a.sum + fib(9) + (s:find('50', 1, true) or 0)) % "
    "1000003\n"
    "  end\n"
    "  return h\n"
    "end\n";
static void lua_setup(void)
{
    L = luaL_newstate();
    luaL_openlibs(L);
    if (luaL_dostring(L, script))
        skip(lua_tostring(L, -1));
}
static void lua_run(long n)
{
    lua_getglobal(L, "bench");
    lua_pushinteger(L, n);
    if (lua_pcall(L, 1, 1, 0))
        die(lua_tostring(L, -1));
    sink += (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
}

static char bb[4200];
static void bb_setup(void)
{
    snprintf(bb, sizeof bb, "%s/busybox", self_dir);
    if (access(bb, X_OK))
        skip("no busybox beside the bench binary");
}
static void spawn(const char *applet, const char *opt, const char *prog)
{
    int p[2], st;
    char buf[64] = {0};
    if (pipe(p))
        die("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(p[1], 1);
        close(p[0]);
        close(p[1]);
        if (opt)
            execl(bb, applet, opt, prog, (char *)0);
        else
            execl(bb, applet, prog, (char *)0);
        _exit(127);
    }
    close(p[1]);
    ssize_t k = read(p[0], buf, sizeof buf - 1);
    close(p[0]);
    waitpid(pid, &st, 0);
    if (k <= 0 || st)
        die("interpreter");
    sink += strtoull(buf, NULL, 10);
}
static void awk_run(long n)
{
    char prog[512];
    snprintf(
        prog, sizeof prog,
        "BEGIN { n = %ld; for (i = 0; i < n * 100; i++) { a[i %% 97] += i * 3; "
        "s = \"k\" (i %% 31); if (s ~ /k2[0-9]/) c += length(s); t = substr(s, "
        "2) + 0; c += t %% 7 } print c %% 1000003 }",
        n);
    spawn("awk", NULL, prog);
}
static void sh_run(long n)
{
    char prog[512];
    snprintf(prog, sizeof prog,
             "i=0; c=0; while [ $i -lt %ld ]; do i=$((i+1)); case $i in *7) "
             "c=$((c+i%%13));; *) c=$((c+1));; esac; done; echo $c",
             n * 100);
    spawn("sh", "-c", prog);
}

const struct test interp_tests[] = {
    {"interp_lua", "interp", "iter/s", 1, lua_run, lua_setup, 20, 0},
    {"interp_awk", "interp", "kiter/s", 0.1, awk_run, bb_setup, 10, 0},
    {"interp_sh", "interp", "kiter/s", 0.1, sh_run, bb_setup, 5, 0},
    {0}};
