(* Attainment depends on the field: over the rational numbers the factor part of NetREX-CF need not
   have a minimum, though its ridge is positive. One gene, one regulator, one feature, an edge on
   the prior that is off: 3/4 + (x y - 1/2)^2 + (x - y)^2 / 2, least where x = y, x^2 = 1/2. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame ridge completed_square netrex_cf duality.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Lemma half_is_no_square (x : rat) : x ^+ 2 <> 2%:R^-1.
Proof.
move=> e; have dr : (denq x)%:~R != 0 :> rat by rewrite intr_eq0 denq_neq0.
have n2 : 2%:R != 0 :> rat by [].
have xe : (numq x)%:~R = x * (denq x)%:~R :> rat by rewrite -{2}[x]divq_num_den divfK.
have : (2%:R * numq x ^+ 2)%:~R = (denq x ^+ 2)%:~R :> rat.
  by rewrite intrM !rmorphX /= xe exprMn e; field.
move/intr_inj/(congr1 absz); rewrite abszM !abszX => {}e.
have d0 : (0 < `|denq x|)%N by rewrite absz_gt0 denq_neq0.
have n0 : (0 < `|numq x|)%N.
  by move: (expn_gt0 `|denq x| 2); rewrite -e d0; case: (`|numq x|)%N.
move: e => /(congr1 (logn 2)); rewrite lognM ?expn_gt0 ?n0 // !lognX => /(congr1 odd).
by rewrite oddD !oddM.
Qed.

Definition gap (x y : rat) : rat := (x * y - 2%:R^-1) ^+ 2 + (x - y) ^+ 2 / 2%:R.

(* every pair is beaten: by (3/4, 3/4), by the means, or by a step of Newton's method *)
Lemma beaten x y : exists x' y', gap x' y' < gap x y.
Proof.
have n2 : 2%:R != 0 :> rat by [].
have [far|near] := ltP (256%:R^-1) (gap x y); first by exists (3%:R / 4%:R), (3%:R / 4%:R).
set s := x * y - 2%:R^-1; pose d := (x - y) ^+ 2 / 4%:R.
have d0 : 0 <= d by rewrite divr_ge0 ?sqr_ge0.
have ge : gap x y = s ^+ 2 + 2%:R * d by rewrite /gap -/s /d; field.
have s2 : s ^+ 2 <= 256%:R^-1 by apply: le_trans near; rewrite ge ler_addl mulr_ge0.
have s1 : `|s| <= 16%:R^-1.
  by rewrite -ler_sqr ?nnegrE // -normrX ger0_norm ?sqr_ge0.
have [xy|xy] := eqVneq x y.
- have x2 : x ^+ 2 = s + 2%:R^-1 by rewrite /s -xy; ring.
  have x20 : 16%:R^-1 < x ^+ 2.
    rewrite x2; have /andP[lo _] : - 16%:R^-1 <= s <= 16%:R^-1 by rewrite -ler_norml.
    by apply: lt_le_trans (_ : - 16%:R^-1 + 2%:R^-1 <= _); rewrite ?ler_add2r.
  have x0 : x != 0 by apply/eqP => z; move: x20; rewrite z.
  have s0 : s != 0.
    by apply/eqP => z; move: x2; rewrite z add0r => /half_is_no_square.
  exists (x / 2%:R + (4%:R * x)^-1), (x / 2%:R + (4%:R * x)^-1).
  have -> : gap (x / 2%:R + (4%:R * x)^-1) (x / 2%:R + (4%:R * x)^-1)
      = s ^+ 2 * (s ^+ 2 / (4%:R * x ^+ 2) ^+ 2).
    by rewrite /gap /s -xy; field.
  have -> : gap x y = s ^+ 2 * 1 by rewrite /gap -/s xy subrr expr0n mul0r addr0 mulr1.
  have ss : 0 < s ^+ 2 by rewrite lt_def sqrf_eq0 s0 sqr_ge0.
  rewrite ltr_pmul2l //.
  have xp : 0 < x ^+ 2 by apply: lt_trans x20.
  have c0 : 0 < 4%:R * x ^+ 2 by rewrite mulr_gt0.
  rewrite ltr_pdivr_mulr ?exprn_gt0 // mul1r; apply: le_lt_trans s2 _.
  have -> : 256%:R^-1 = (16%:R^-1) ^+ 2 :> rat by [].
  rewrite ltr_sqr ?nnegrE ?ltW //; apply: lt_trans x20 _.
  by rewrite ltr_pmull.
- have d1 : 0 < d by rewrite divr_gt0 // lt_def sqrf_eq0 subr_eq0 xy sqr_ge0.
  exists ((x + y) / 2%:R), ((x + y) / 2%:R).
  have -> : gap ((x + y) / 2%:R) ((x + y) / 2%:R) = (s + d) ^+ 2.
    by rewrite /gap /s /d; field.
  rewrite ge -subr_gt0.
  have -> : s ^+ 2 + 2%:R * d - (s + d) ^+ 2 = d * (2%:R - 2%:R * s - d) by ring.
  have d2 : d <= 256%:R^-1.
    apply: le_trans near; rewrite ge; apply: le_trans (_ : 2%:R * d <= _).
      by rewrite ler_pemull.
    by rewrite ler_addr sqr_ge0.
  rewrite mulr_gt0 // -addrA -opprD subr_gt0.
  have sle : 2%:R * s <= 2%:R * 16%:R^-1 by rewrite ler_pmul2l // (le_trans (ler_norm _) s1).
  by apply: le_lt_trans (ler_add sle d2) _.
Qed.

Theorem rational_not_attained (v : rat) :
  ~ is_min (@factor_part [realFieldType of rat] 1 1 1 (const_mx true) (const_mx 1) (const_mx 1)
              (const_mx 1) 2%:R^-1 0 (const_mx false)) v.
Proof.
set F := factor_part _ _ _ _ _ _ _.
have e (t : factors [realFieldType of rat] 1 1 1) : F t = 3%:R / 4%:R + gap (t.1 0 0) (t.2 0 0).
  rewrite /F /factor_part /entry_cost /norm2 !big_ord1 !mxE !big_ord1 !mxE /=.
  by rewrite /gap; move: (t.1 0 0) (t.2 0 0) => x y; field.
case=> -[t <-] least; have [x [y]] := beaten (t.1 0 0) (t.2 0 0).
have := least (const_mx x, const_mx y); rewrite !e !mxE ler_add2l => le lt.
by move: (le_lt_trans le lt); rewrite ltxx.
Qed.
