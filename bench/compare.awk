# The table. stdin: "<target> <log line>"; one row for each test: medians, and
# slow-downs against the first target, then geometric means, then the last
# target against those between.
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

function show(v)
{
    return v == "" ? "-" : v >= 1000 ? sprintf("%.0f", v) : sprintf("%.3g", v)
}

# Half the range over the median, per cent.
function spread(key,    i, lo, hi)
{
    if (cnt[key] < 2)
        return 0
    lo = hi = val[key, 1]
    for (i = 2; i <= cnt[key]; i++) {
        if (val[key, i] < lo)
            lo = val[key, i]
        if (val[key, i] > hi)
            hi = val[key, i]
    }
    return 50 * (hi - lo) / median(key)
}

# How much slower than target s is target t in test n? "" if unknown.
function slower(t, s, n,    v, b)
{
    v = median(T[t] SUBSEP n)
    b = median(T[s] SUBSEP n)
    if (!(b > 0 && v > 0))
        return ""
    return unit[n] == "us" ? v / b : b / v
}

function count(t, s, what, r)
{
    sum[t, s, what] += log(r)
    num[t, s, what]++
}

# Into the means of its group, and of user or kernel.
function add(t, s, n, r)
{
    if (r == "" || group[n] == "time")
        return
    if (super[n] == "user" || super[n] == "kernel")
        count(t, s, super[n], r)
    count(t, s, group[n], r)
}

function row(n,    t, b, v, r, bad)
{
    b = median(T[1] SUBSEP n)
    printf "%-18s %-8s %10s", n, unit[n],
        b == "" ? ((T[1], n) in note ? note[T[1], n] : "-") : show(b)
    for (t = 2; t <= nt; t++) {
        v = median(T[t] SUBSEP n)
        r = slower(t, 1, n)
        add(t, 1, n, r)
        bad = ((T[1], n) in chk) && ((T[t], n) in chk) &&
            chk[T[1], n] != chk[T[t], n] || (T[t], n) in unstable
        printf " | %10s %7s %4.0f%s",
            v == "" ? ((T[t], n) in note ? note[T[t], n] : "-") : show(v),
            r == "" ? "-" : sprintf("%.2fx", r), spread(T[t] SUBSEP n),
            bad ? " CHECK-DIFFERS" : ""
    }
    print ""
}

function means(    g, ng, G, t, line)
{
    ng = split("user int interp fp simd mem str comp db crypto kernel " \
        "sys proc vm ipc fs jit i386 smp", G, " ")
    for (g = 1; g <= ng; g++) {
        line = ""
        for (t = 2; t <= nt; t++)
            if (num[t, 1, G[g]])
                line = line sprintf("  %s %.2fx (%d)", T[t],
                    exp(sum[t, 1, G[g]] / num[t, 1, G[g]]), num[t, 1, G[g]])
        if (line != "")
            printf "geomean %-8s%s\n", G[g], line
    }
}

# The last target against target s: means, and where it is slower.
function against(s,    i, n, r, g, ng, G, line, slow)
{
    for (i = 1; i <= no; i++) {
        n = order[i]
        r = slower(nt, s, n)
        add(nt, s, n, r)
        if (r != "" && r > 1)
            slow = slow sprintf(" %s (%.2fx)", n, r)
    }
    ng = split("user kernel jit i386 smp", G, " ")
    for (g = 1; g <= ng; g++)
        if (num[nt, s, G[g]])
            line = line sprintf("  %s %.2fx", G[g],
                exp(-sum[nt, s, G[g]] / num[nt, s, G[g]]))
    printf "%s is faster than %s:%s\n", T[nt], T[s], line
    printf "%s is slower than %s:%s\n", T[nt], T[s], slow == "" ? " nowhere" : slow
}

BEGIN {
    nt = split(targets, T, " ")
    while ((getline line < groups) > 0) {
        split(line, f, " ")
        order[++no] = f[1]
        super[f[1]] = f[2]
        group[f[1]] = f[3]
    }
}
$2 == "BENCH" {
    k = $1 SUBSEP $3
    val[k, ++cnt[k]] = $4 + 0
    unit[$3] = $5
}
$2 == "CHECK" {
    if (!(($1, $3) in chk))
        chk[$1, $3] = $4
    else if (chk[$1, $3] != $4)
        unstable[$1, $3] = 1
}
$2 == "BENCH-FAIL" || $2 == "BENCH-SKIP" {
    note[$1, $3] = $2 == "BENCH-FAIL" ? "FAIL" : "skip"
    if (!($3 in unit))
        unit[$3] = "-"
}
END {
    printf "%-18s %-8s %10s", "test", "unit", T[1]
    for (t = 2; t <= nt; t++)
        printf " | %10s %7s %4s", T[t], "slower", "+-%"
    print ""
    for (i = 1; i <= no; i++)
        if (order[i] in unit)
            row(order[i])
    print ""
    means()
    for (s = 2; s < nt; s++)
        against(s)
}
