# What no ratio to a native run exists for: boot time, idle CPU, memory, and
# inter-processor interrupts. stdin: "<target> <log line>"; medians per target.
function median(key,    n, i, j, v, a)
{
    n = cnt[key]
    if (!n)
        return ""
    for (i = 1; i <= n; i++)
        a[i] = val[key, i]
    for (i = 2; i <= n; i++) {
        v = a[i]
        for (j = i - 1; j > 0 && a[j] > v; j--)
            a[j + 1] = a[j]
        a[j + 1] = v
    }
    return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
}

function row(name, key, unit,    t, v, first, last)
{
    printf "%-40s %-6s", name, unit
    for (t = 1; t <= nt; t++) {
        v = median(T[t] SUBSEP key)
        printf " %10s", v == "" ? "-" : sprintf("%.3g", v)
        if (t == 1)
            first = v
        last = v
    }
    if (nt > 1 && first > 0 && last != "")
        printf "   %3.0f%%", 100 * last / first
    print ""
}

BEGIN { nt = split(targets, T, " ") }
$2 == "HOST" || $2 == "BENCH" {
    k = $1 SUBSEP $3
    val[k, ++cnt[k]] = $4 + 0
}
END {
    printf "%-40s %-6s", "also", "unit"
    for (t = 1; t <= nt; t++)
        printf " %10s", T[t]
    print ""
    row("process start to first user-space line", "boot_s", "s")
    row("  processor time of that", "boot_cpu_s", "s")
    row("idle guest, of one host CPU", "idle_cpu_pct", "%")
    row("memory beyond the guest's, booted", "own_pss_idle", "MiB")
    row("memory of the guest that it touched", "guest_ram_rss_idle", "MiB")
    row("IPI there and back, both run", "ipi_running", "us")
    row("IPI there and back, other halted", "ipi_halted", "us")
}
