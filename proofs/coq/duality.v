(* Lower bounds of a regression by any dual point, and what they certify. For

     P(x) = a |y - X x|^2 + sum_j (l1_j |x_j| + l2_j x_j^2) + sum_g w_g |x_g|

   over a box, and any u, with v = 2 a X'u,

     P(x) >= D(u) = a (2 u.y - u.u) - sum_j h_j - sum_g H_g

   where h_j bounds v_j x - l1_j |x| - l2_j x^2 over the box and H_g bounds
   v_g.x_g - c_g |x_g|^2 - w_g |x_g|. A point whose P exceeds D(u) by no more
   than eps is within eps of the least value. An ordered field need not have
   square roots: |x_g| is any n >= 0 with n^2 the sum of the squares. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame ridge.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Lemma le_by (R : realFieldType) (x y d : R) : 0 <= d -> y - x = d -> x <= y.
Proof. by move=> d0 e; rewrite -subr_ge0 e. Qed.

(* squares with any penalty: a bound h of v.x - penalty over the feasible set *)
Section Squares.
Variables (R : realFieldType) (r q : nat) (X : 'M[R]_(r, q)) (y : 'cV[R]_r) (a : R).
Hypothesis a_ge0 : 0 <= a.
Variable u : 'cV[R]_r.

Definition slope : 'cV[R]_q := (2%:R * a) *: (X^T *m u).
Definition dual (h : R) : R := a * (2%:R * inner u y - norm2 u) - h.

Lemma squares_above (x : 'cV[R]_q) :
  a * (2%:R * inner u y - norm2 u) - inner slope x <= a * norm2 (y - X *m x).
Proof.
have e : inner slope x = 2%:R * a * inner u (X *m x).
  by rewrite /slope inner_sym innerZr -inner_mul inner_sym.
have h := norm2_ge0 (y - X *m x - u).
apply: (le_by (mulr_ge0 a_ge0 h)); rewrite e !norm2_inner.
move: (X *m x) => z; rewrite !(innerBl, innerBr) (inner_sym z y) (inner_sym y u) (inner_sym z u).
by ring.
Qed.

Variables (C : 'cV[R]_q -> Prop) (penalty : 'cV[R]_q -> R) (h : R).
Hypothesis bound : forall x, C x -> inner slope x - penalty x <= h.

Theorem weak_duality x : C x -> dual h <= a * norm2 (y - X *m x) + penalty x.
Proof.
move=> /bound; rewrite -subr_ge0 => b; have := squares_above x; rewrite -subr_ge0 => s.
by apply: (le_by (addr_ge0 b s)); rewrite /dual; ring.
Qed.

Theorem certified_of_dual b eps : a * norm2 (y - X *m b) + penalty b - dual h <= eps ->
  forall x, C x ->
  a * norm2 (y - X *m b) + penalty b <= a * norm2 (y - X *m x) + penalty x + eps.
Proof.
by rewrite ler_subl_addl => gap x /weak_duality d; apply: le_trans gap _; rewrite ler_add2r.
Qed.

End Squares.

(* one entry: f(x) = v x - l1 |x| - l2 x^2 over a box, an absent end being open *)
Section Entry.
Variable R : realFieldType.
Implicit Types (v x s t : R) (lo hi : option R).

Definition gain v (l1 l2 : R) x : R := v * x - l1 * `|x| - l2 * x ^+ 2.
Definition above lo x : Prop := if lo is Some l then l <= x else True.
Definition below hi x : Prop := if hi is Some h then x <= h else True.
Definition in_box lo hi x : Prop := above lo x /\ below hi x.

(* t is optimal where s, a slope of l1 |x| at t, leaves a slope that points out of the box *)
Theorem entry_witness v l1 l2 lo hi t s : 0 <= l2 -> `|s| <= l1 -> s * t = l1 * `|t| ->
  let g := v - s - 2%:R * l2 * t in
  (0 < g -> hi = Some t) -> (g < 0 -> lo = Some t) ->
  forall x, in_box lo hi x -> gain v l1 l2 x <= gain v l1 l2 t.
Proof.
move=> l20 sl st g up down x [lx xh].
have sx : 0 <= l1 * `|x| - s * x.
  rewrite subr_ge0; apply: le_trans (ler_norm _) _.
  by rewrite normrM ler_wpmul2r.
have gx : 0 <= g * (t - x).
  case: (ltgtP g 0) => [g0|g0|->]; last by rewrite mul0r.
    by move: lx; rewrite (down g0) /= => tx; rewrite nmulr_rge0 // subr_le0.
  by move: xh; rewrite (up g0) /= => xt; rewrite pmulr_rge0 // subr_ge0.
have sq : 0 <= l2 * (x - t) ^+ 2 by rewrite mulr_ge0 ?sqr_ge0.
apply: (le_by (addr_ge0 (addr_ge0 sx gx) sq)); rewrite /gain -st /g.
by move: `|x| => z; ring.
Qed.

(* what is left of |v| above l1 *)
Definition excess v (l1 : R) : R := if l1 < `|v| then `|v| - l1 else 0.

Lemma gain_le_excess v l1 l2 x : gain v l1 l2 x <= excess v l1 * `|x| - l2 * x ^+ 2.
Proof.
have vx : v * x <= `|v| * `|x| by rewrite -normrM ler_norm.
rewrite ler_add2r; apply: (@le_trans _ _ ((`|v| - l1) * `|x|)); first by rewrite mulrBl ler_add2r.
by rewrite ler_wpmul2r // /excess; case: ltP => // h; rewrite subr_le0.
Qed.

(* ridge, and elastic net *)
Theorem elastic_net_bound v l1 l2 x : 0 < l2 ->
  gain v l1 l2 x <= excess v l1 ^+ 2 / (4%:R * l2).
Proof.
move=> l20; apply: le_trans (gain_le_excess _ _ _ _) _.
rewrite ler_pdivl_mulr ?mulr_gt0 ?ltr0n // -[x ^+ 2]ger0_norm ?sqr_ge0 // normrX.
apply: (le_by (sqr_ge0 (excess v l1 - 2%:R * l2 * `|x|))).
by move: (excess _ _) `|x| => e t; ring.
Qed.

Theorem ridge_bound v l2 x : 0 < l2 -> gain v 0 l2 x <= v ^+ 2 / (4%:R * l2).
Proof.
move=> l20; apply: le_trans (elastic_net_bound _ _ _ l20) _; rewrite /excess subr0.
case: ltP => h; first by rewrite -normrX ger0_norm ?sqr_ge0.
by rewrite expr0n /= mul0r divr_ge0 ?sqr_ge0 // mulr_ge0 ?ler0n // ltW.
Qed.

(* lasso: nothing, where the slope is no more than its price *)
Theorem lasso_bound v l1 x : `|v| <= l1 -> gain v l1 0 x <= 0.
Proof.
move=> h; apply: le_trans (gain_le_excess _ _ _ _) _; rewrite /excess ltNge h /=.
by rewrite !mul0r subrr.
Qed.

(* box: the concave maximum clipped to it *)
Definition clip lo hi x : R :=
  let x := if lo is Some l then Num.max l x else x in if hi is Some h then Num.min h x else x.

Lemma gain_concave v l1 l2 x z c : 0 <= l1 -> 0 <= l2 -> 0 <= c -> 0 <= 1 - c ->
  c * gain v l1 l2 x + (1 - c) * gain v l1 l2 z <= gain v l1 l2 (c * x + (1 - c) * z).
Proof.
move=> l10 l20 c0 d0.
have : `|c * x + (1 - c) * z| <= c * `|x| + (1 - c) * `|z|.
  by apply: le_trans (ler_norm_add _ _) _; rewrite !normrM (ger0_norm c0) (ger0_norm d0).
rewrite -subr_ge0 => n; have sq : 0 <= l2 * (c * (1 - c) * (x - z) ^+ 2).
  by rewrite mulr_ge0 // mulr_ge0 ?sqr_ge0 // mulr_ge0.
apply: (le_by (addr_ge0 (mulr_ge0 l10 n) sq)); rewrite /gain.
by move: `|_ + _| `|x| `|z| => N x' z'; ring.
Qed.

Theorem box_bound v l1 l2 lo hi t : 0 <= l1 -> 0 <= l2 ->
  (forall x, gain v l1 l2 x <= gain v l1 l2 t) ->
  forall x, in_box lo hi x -> gain v l1 l2 x <= gain v l1 l2 (clip lo hi t).
Proof.
move=> l10 l20 top x [lx xh].
have toward p : (x <= p <= t) \/ (t <= p <= x) -> gain v l1 l2 x <= gain v l1 l2 p.
  have [<-|xt b] := eqVneq x t; first by case=> /le_anti <-.
  have n : t - x != 0 by rewrite subr_eq0 eq_sym.
  pose c := (t - p) / (t - x); have d : 1 - c = (p - x) / (t - x) by rewrite /c; field.
  have [c0 d0] : 0 <= c /\ 0 <= 1 - c.
    rewrite d; case: b => /andP[h1 h2]; split; rewrite /c.
    - by rewrite divr_ge0 ?subr_ge0 // (le_trans h1).
    - by rewrite divr_ge0 ?subr_ge0 // (le_trans h1).
    - by rewrite mulr_le0 ?invr_le0 ?subr_le0 // (le_trans h1).
    - by rewrite mulr_le0 ?invr_le0 ?subr_le0 // (le_trans h1).
  have e : p = c * x + (1 - c) * t by rewrite /c; field.
  clear d; clearbody c; rewrite e; apply: le_trans (gain_concave v x t l10 l20 c0 d0).
  have m := top x; rewrite -subr_ge0 in m; apply: (le_by (mulr_ge0 d0 m)); ring.
have inside : (x <= t <= t) \/ (t <= t <= x).
  by case/orP: (le_total x t) => h; [left | right]; rewrite h lexx.
apply: toward; rewrite /clip; case: lo lx => [l|] /= lx; case: hi xh => [h|] //= xh.
- case: (leP l t) => lt; first by case: (leP h t) => ht //; left; rewrite xh.
  have tx := le_trans (ltW lt) lx; right; case: (leP h l) => hl; last by rewrite (ltW lt).
  by rewrite (le_trans tx xh) (le_trans hl lx).
- by case: (leP l t) => lt //; right; rewrite (ltW lt).
- by case: (leP h t) => ht //; left; rewrite xh.
Qed.

End Entry.

(* a group of entries: n stands for the norm of x, t for a bound of that of v *)
Section Group.
Variables (R : realFieldType) (I : finType) (g : pred I).
Implicit Types v x : I -> R.

Definition norm_in x (n : R) : Prop := 0 <= n /\ n ^+ 2 = \sum_(j | g j) x j ^+ 2.
Definition norm_below x (n : R) : Prop := 0 <= n /\ \sum_(j | g j) x j ^+ 2 <= n ^+ 2.

Lemma cauchy_schwarz v x t n : norm_below v t -> norm_below x n ->
  \sum_(j | g j) v j * x j <= t * n.
Proof.
move=> [t0 vt] [n0 xn].
set A := \sum_(j | g j) v j ^+ 2 in vt; set B := \sum_(j | g j) x j ^+ 2 in xn.
set C := \sum_(j | g j) _.
have A0 : 0 <= A by apply: sumr_ge0 => j _; exact: sqr_ge0.
have B0 : 0 <= B by apply: sumr_ge0 => j _; exact: sqr_ge0.
have [C0|/ltW C0] := leP C 0; first by apply: le_trans C0 (mulr_ge0 t0 n0).
rewrite -ler_sqr ?nnegrE ?mulr_ge0 // exprMn; apply: (@le_trans _ _ (A * B)); last exact: ler_pmul.
have : 0 <= B * (A * B - C ^+ 2).
  have <- : \sum_(j | g j) (B * v j - C * x j) ^+ 2 = B * (A * B - C ^+ 2).
    rewrite (eq_bigr (fun j => B ^+ 2 * v j ^+ 2 - 2%:R * B * C * (v j * x j) + C ^+ 2 * x j ^+ 2)).
      by rewrite big_split sumrB /= -!mulr_sumr -/A -/B -/C; ring.
    by move=> j _; ring.
  by apply: sumr_ge0 => j _; exact: sqr_ge0.
have [B1|] := ltP 0 B; first by rewrite pmulr_rge0 // subr_ge0.
rewrite le_eqVlt ltNge B0 orbF => /eqP B1 _; have : C = 0.
  apply: big1 => j gj; suff -> : x j = 0 by rewrite mulr0.
  apply/eqP; rewrite -sqrf_eq0; move/eqP: B1; rewrite psumr_eq0 => [|i _]; last exact: sqr_ge0.
  by move/allP/(_ j (mem_index_enum _)); rewrite gj.
by move=> ->; rewrite expr0n /= mulr_ge0.
Qed.

Definition group_top (w c t : R) : R := if t <= w then 0 else (t - w) ^+ 2 / (4%:R * c).

Theorem group_bound v w c t : 0 <= c -> t <= w \/ 0 < c -> norm_below v t ->
  forall x n, norm_in x n ->
  \sum_(j | g j) (v j * x j - c * x j ^+ 2) - w * n <= group_top w c t.
Proof.
move=> c0 ok vt x n [n0 xn].
have xb : norm_below x n by split=> //; rewrite xn.
have := cauchy_schwarz vt xb; rewrite sumrB -mulr_sumr -xn => le.
apply: (@le_trans _ _ ((t - w) * n - c * n ^+ 2)).
  by rewrite mulrBl addrAC ler_add2r ler_add2r.
rewrite /group_top; case: ifP => tw.
  rewrite subr_le0 (@le_trans _ _ 0) ?mulr_ge0 ?sqr_ge0 //.
  by rewrite mulr_le0_ge0 // subr_le0.
have c1 : 0 < c by case: ok => //; rewrite tw.
rewrite ler_pdivl_mulr ?mulr_gt0 ?ltr0n //.
by apply: (le_by (sqr_ge0 (t - w - 2%:R * c * n))); ring.
Qed.

End Group.

(* The problem of a target. Entries that grp puts into no group pay for themselves; those of group
   g have a ridge of at least c g. *)
Section Problem.
Variables (R : realFieldType) (r q : nat) (X : 'M[R]_(r, q)) (y : 'cV[R]_r) (a : R).
Variables (l1 l2 : 'I_q -> R) (lo hi : 'I_q -> option R).
Variables (G : finType) (grp : 'I_q -> option G) (w c : G -> R).
Hypothesis a_ge0 : 0 <= a.
Hypothesis l1_ge0 : forall j, 0 <= l1 j.
Hypothesis w_ge0 : forall g, 0 <= w g.
Hypothesis c_le : forall j g, grp j = Some g -> c g <= l2 j.

Definition entries (x : 'cV[R]_q) (j : 'I_q) : R := x j 0.
Definition feasible (x : 'cV[R]_q) : Prop := forall j, in_box (lo j) (hi j) (x j 0).
Definition norms (x : 'cV[R]_q) (n : G -> R) : Prop :=
  forall g, norm_in (fun j => grp j == Some g) (entries x) (n g).
Definition norms_below (x : 'cV[R]_q) (n : G -> R) : Prop :=
  forall g, norm_below (fun j => grp j == Some g) (entries x) (n g).

Definition objective (x : 'cV[R]_q) (n : G -> R) : R :=
  a * norm2 (y - X *m x)
  + (\sum_j (l1 j * `|x j 0| + l2 j * x j 0 ^+ 2) + \sum_g w g * n g).

Definition dual_value (u : 'cV[R]_r) (h : 'I_q -> R) (H : G -> R) : R :=
  dual y a u (\sum_(j | grp j == None) h j + \sum_g H g).

Lemma sum_by_group (F : 'I_q -> R) :
  \sum_j F j = \sum_(j | grp j == None) F j + \sum_g \sum_(j | grp j == Some g) F j.
Proof.
rewrite [X in X + _]big_mkcond (eq_bigr (fun g => \sum_j if grp j == Some g then F j else 0)).
  rewrite exchange_big -big_split; apply: eq_bigr => j _ /=; case: (grp j) => [g|] /=.
    rewrite add0r (bigD1 g) //= eqxx big1 ?addr0 // => i ig.
    by case: eqP => // -[e]; rewrite e eqxx in ig.
  by rewrite big1 ?addr0.
by move=> g _; rewrite big_mkcond.
Qed.

Theorem problem_dual u h H :
  (forall j, grp j = None -> forall x, in_box (lo j) (hi j) x ->
     gain (slope X a u j 0) (l1 j) (l2 j) x <= h j) ->
  (forall g x n, norm_in (fun j => grp j == Some g) x n ->
     \sum_(j | grp j == Some g) (slope X a u j 0 * x j - c g * x j ^+ 2) - w g * n <= H g) ->
  forall x n, feasible x -> norms x n -> dual_value u h H <= objective x n.
Proof.
move=> hh HH x n fx nx.
apply: (@weak_duality _ _ _ X y a a_ge0 u (fun x' => x' = x)
  (fun x => \sum_j (l1 j * `|x j 0| + l2 j * x j 0 ^+ 2) + \sum_g w g * n g)) => // _ ->.
have -> : inner (slope X a u) x = \sum_j slope X a u j 0 * x j 0.
  by apply: eq_bigr => j _; rewrite big_ord1.
rewrite opprD addrA -sumrB sum_by_group -addrA -sumrB; apply: ler_add.
  apply: ler_sum => j /eqP gj; apply: le_trans (hh j gj _ (fx j)).
  by rewrite /gain opprD addrA.
apply: ler_sum => g _; apply: le_trans (HH g (entries x) (n g) (nx g)).
rewrite ler_add2r; apply: ler_sum => j /eqP gj; rewrite ler_add2l ler_opp2.
apply: le_trans (ler_wpmul2r (sqr_ge0 _) (c_le gj)) _.
by rewrite ler_addr mulr_ge0.
Qed.

(* what a certificate proves: b is within eps of every feasible point *)
Theorem certified u h H b nb eps :
  (forall j, grp j = None -> forall x, in_box (lo j) (hi j) x ->
     gain (slope X a u j 0) (l1 j) (l2 j) x <= h j) ->
  (forall g x n, norm_in (fun j => grp j == Some g) x n ->
     \sum_(j | grp j == Some g) (slope X a u j 0 * x j - c g * x j ^+ 2) - w g * n <= H g) ->
  norms_below b nb -> objective b nb - dual_value u h H <= eps ->
  forall m x n, norms b m -> feasible x -> norms x n -> objective b m <= objective x n + eps.
Proof.
move=> hh HH bb gap m x n mb fx nx; apply: (@le_trans _ _ (objective b nb)).
  rewrite !ler_add2l; apply: ler_sum => g _; apply: ler_wpmul2l => //.
  have [m0 e] := mb g; have [n0] := bb g; rewrite -e.
  by rewrite ler_sqr ?nnegrE.
rewrite ler_subl_addl in gap; apply: le_trans gap _; rewrite ler_add2r.
exact: (@problem_dual u h H).
Qed.

End Problem.
