(* Centring is an intercept. For row weights of positive sum, the best
   intercept is the weighted mean residual, and what is left is the sum of
   squares of the centred response on the centred design. An intercept is
   never penalised here. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame ridge.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Centring.
Variables (R : realFieldType) (n : nat) (w : 'rV[R]_n).

Definition total : R := \sum_i w 0 i.
Hypothesis total_gt0 : 0 < total.

Definition mean (r : 'I_n -> R) : R := (\sum_i w 0 i * r i) / total.
Definition squares (r : 'I_n -> R) (c : R) : R := \sum_i w 0 i * (r i - c) ^+ 2.

Theorem squares_about_mean r c :
  squares r c = squares r (mean r) + total * (c - mean r) ^+ 2.
Proof.
have t0 : total != 0 by rewrite gt_eqF.
have e : \sum_i w 0 i * r i = total * mean r by rewrite /mean mulrC divfK.
have expand d : squares r d = (\sum_i w 0 i * r i ^+ 2)
                              - 2%:R * d * (total * mean r) + total * d ^+ 2.
  rewrite -e /squares /total !mulr_sumr mulr_suml -sumrN -!big_split /=.
  by apply: eq_bigr => i _; ring.
rewrite !expand; ring.
Qed.

Theorem intercept_argmin r c : argmin (@free _) (squares r) c <-> c = mean r.
Proof.
split=> [[_ /(_ (mean r) I)]|->].
- rewrite [squares r c]squares_about_mean ger_addl pmulr_rle0 // => h.
  by apply/eqP; rewrite -subr_eq0 -sqrf_eq0 eq_le h sqr_ge0.
- split=> // d _; rewrite [X in _ <= X]squares_about_mean ler_addl.
  by rewrite mulr_ge0 ?sqr_ge0 ?ltW.
Qed.

Section Regression.
Variables (q : nat) (X : 'M[R]_(n, q)) (y : 'cV[R]_n).
Variables (C : 'cV[R]_q -> Prop) (pen : 'cV[R]_q -> R).

Definition mean_y : R := mean (fun i => y i 0).
Definition mean_x : 'rV[R]_q := \row_j mean (fun i => X i j).
Definition centred_y : 'cV[R]_n := \col_i (y i 0 - mean_y).
Definition centred_x : 'M[R]_(n, q) := \matrix_(i, j) (X i j - mean_x 0 j).

Definition with_intercept (u : R * 'cV[R]_q) : R :=
  (\sum_i w 0 i * (y i 0 - u.1 - (X *m u.2) i 0) ^+ 2) + pen u.2.
Definition centred (theta : 'cV[R]_q) : R :=
  wnorm2 w (centred_y - centred_x *m theta) + pen theta.
Definition best_intercept (theta : 'cV[R]_q) : R := mean_y - (mean_x *m theta) 0 0.

Lemma mean_residual theta :
  mean (fun i => y i 0 - (X *m theta) i 0) = best_intercept theta.
Proof.
rewrite /best_intercept /mean_y /mean.
have -> : \sum_i w 0 i * (y i 0 - (X *m theta) i 0) =
          (\sum_i w 0 i * y i 0) - \sum_i w 0 i * (X *m theta) i 0.
  by rewrite -sumrB; apply: eq_bigr => i _; rewrite mulrBr.
rewrite mulrBl; congr (_ - _); rewrite mxE mulr_suml.
have -> : \sum_j mean_x 0 j * theta j 0 =
          \sum_j \sum_i w 0 i * (X i j * theta j 0) / total.
  apply: eq_bigr => j _; rewrite mxE /mean mulr_suml mulr_suml.
  by apply: eq_bigr => i _; ring.
rewrite exchange_big /=; apply: eq_bigr => i _; rewrite mxE mulr_sumr mulr_suml.
by apply: eq_bigr.
Qed.

Lemma centred_residual theta i :
  (centred_y - centred_x *m theta) i 0 = y i 0 - best_intercept theta - (X *m theta) i 0.
Proof.
rewrite !mxE /best_intercept mxE.
have -> : \sum_j centred_x i j * theta j 0 =
          (\sum_j X i j * theta j 0) - \sum_j mean_x 0 j * theta j 0.
  by rewrite -sumrB; apply: eq_bigr => j _; rewrite mxE mulrBl.
by rewrite !opprD !opprK !addrA addrAC -!addrA; congr (_ + (_ + _)); rewrite addrC.
Qed.

Theorem with_intercept_square c theta :
  with_intercept (c, theta) =
  centred theta + total * (c - best_intercept theta) ^+ 2.
Proof.
rewrite /with_intercept /centred /= addrAC; congr (_ + _).
have := squares_about_mean (fun i => y i 0 - (X *m theta) i 0) c.
rewrite mean_residual /squares => e.
have -> : wnorm2 w (centred_y - centred_x *m theta) =
  \sum_i w 0 i * (y i 0 - (X *m theta) i 0 - best_intercept theta) ^+ 2.
  apply: eq_bigr => i _; rewrite big_ord1 centred_residual; congr (_ * _ ^+ 2).
  by rewrite addrAC.
by rewrite -e; apply: eq_bigr => i _; rewrite addrAC.
Qed.

Theorem centring_is_an_intercept c theta :
  argmin (fun u => C u.2) with_intercept (c, theta) <->
  argmin C centred theta /\ c = best_intercept theta.
Proof.
have best t : with_intercept (best_intercept t, t) = centred t.
  by rewrite with_intercept_square subrr expr0n /= mulr0 addr0.
have above c' t : centred t <= with_intercept (c', t).
  by rewrite with_intercept_square ler_addl mulr_ge0 ?sqr_ge0 ?ltW.
split=> [[/= Ct h]|[[Ct h] ->]].
- split; last first.
    have := h (best_intercept theta, theta) Ct.
    rewrite best with_intercept_square ger_addl pmulr_rle0 // => s.
    by apply/eqP; rewrite -subr_eq0 -sqrf_eq0 eq_le s sqr_ge0.
  split=> // t Ct'; rewrite -(best t).
  by apply: le_trans (above c theta) (h (best_intercept t, t) Ct').
- split=> //= -[c' t] /= Ct'; rewrite best.
  by apply: le_trans (h _ Ct') (above c' t).
Qed.

(* the maps: drop the intercept, put the best one back *)
Theorem centring_equivalent :
  equivalent (fun u => C u.2) with_intercept C centred
             snd (fun theta => (best_intercept theta, theta)).
Proof.
split=> [[c t] //|[c t] _|//|t _] /=; rewrite with_intercept_square.
  by rewrite ler_addl mulr_ge0 ?sqr_ge0 ?ltW.
by rewrite subrr expr0n /= mulr0 addr0.
Qed.

End Regression.
End Centring.
